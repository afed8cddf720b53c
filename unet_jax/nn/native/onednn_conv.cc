// Convolutions for XLA's CPU backend, by oneDNN: of stride 1 and SAME padding,
// or of a stride that equals the kernel's size, without padding.
//
// Four typed FFI handlers: forward, forward with a norm's factors and offsets
// and ReLU, gradient of the inputs, gradient of the kernel. Activations are
// [B, H, W, C], kernels [kh, kw, C, K], as in JAX, and the inputs may come in
// parts: their channels count as concatenated, but the concatenation is never
// made. Compiled at first use by native.py.

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernel_gradient.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "team.h"
#include "xla/ffi/api/ffi.h"

static_assert(DNNL_VERSION_MAJOR >= 3, "oneDNN 3.0 or newer is needed");
static_assert(DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP,
              "a oneDNN built with OpenMP is needed");

namespace {

namespace ffi = xla::ffi;
using dnnl::memory;
using Dims = memory::dims;

enum Direction { kForward, kInputGradient, kKernelGradient };

// Of a ReLU below 0, where it gives next to nothing. With a slope of 0 itself
// it would make a NaN 0.
constexpr float kNoSlope = 1e-30f;

// One convolution, as far as oneDNN's choice of a kernel depends on it.
struct Problem {
  Direction direction;
  memory::data_type type, kernel_type, y_type;  // Of x; of the kernel; of y.
  int64_t batch, height, width, in, out;  // Of y, but `in` of this part ...
  int64_t all_in;                         // ... and of all parts together.
  int64_t kernel_height, kernel_width, dilation, stride, threads;
  bool accumulate;  // Adds to what the output holds.
  bool affine_relu;  // Ends with relu(y * factor + offset).

  auto Key() const {
    return std::array<int64_t, 17>{
        direction,    (int64_t)type, (int64_t)kernel_type, (int64_t)y_type,
        batch,
        height,       width,         in,                   out,
        all_in,       kernel_height, kernel_width,         dilation,
        stride,       threads,       accumulate,           affine_relu};
  }
};

// What was prepared for a Problem. Immutable, so threads may share it.
struct Plan {
  dnnl::primitive convolution, reorder;
  memory::desc x, kernel, y;  // As the convolution wants them.
  memory::desc user_kernel, scratch, reorder_scratch;
  bool reorders() const { return kernel != user_kernel; }
};

const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// Factors or offsets: one a channel of y.
memory::desc Channels(const Problem& p) {
  return memory::desc({1, p.out, 1, 1}, memory::data_type::f32,
                      memory::format_tag::nhwc);
}

template <typename Descriptor>
Plan Finish(const Problem& p, const Descriptor& descriptor,
            const memory::desc& x, const memory::desc& kernel,
            const memory::desc& y) {
  Plan plan;
  plan.convolution = dnnl::primitive(descriptor);
  plan.x = x, plan.kernel = kernel, plan.y = y;
  plan.scratch = descriptor.scratchpad_desc();
  // [kh, kw, C, K] seen as oneDNN's (K, C, kh, kw): a part is a view.
  const int64_t row = p.all_in * p.out;
  plan.user_kernel = memory::desc(
      {p.out, p.in, p.kernel_height, p.kernel_width}, p.kernel_type,
      Dims{1, p.out, p.kernel_width * row, row});
  if (!plan.reorders()) return plan;
  const bool backwards = p.direction == kKernelGradient;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  // A reorder takes the threads that it finds when it is prepared.
  const size_t bytes = std::max(kernel.get_size(), plan.user_kernel.get_size());
  omp_set_num_threads(team::ThreadsFor(bytes, p.threads));
  const dnnl::reorder::primitive_desc reorder(
      Cpu(), backwards ? plan.kernel : plan.user_kernel, Cpu(),
      backwards ? plan.user_kernel : plan.kernel, attributes);
  omp_set_num_threads(p.threads);
  plan.reorder = dnnl::reorder(reorder);
  plan.reorder_scratch = reorder.scratchpad_desc();
  return plan;
}

Plan MakePlan(const Problem& p) {
  using dnnl::algorithm;
  using Tag = memory::format_tag;
  const memory::desc x(
      {p.batch, p.in, p.height * p.stride, p.width * p.stride}, p.type,
      Tag::nhwc);
  const memory::desc y({p.batch, p.out, p.height, p.width}, p.y_type,
                       Tag::nhwc);
  const Dims kernel_dims{p.out, p.in, p.kernel_height, p.kernel_width};
  const memory::desc kernel(kernel_dims, p.type, Tag::any);
  const Dims strides{p.stride, p.stride};
  const Dims dilates{p.dilation - 1, p.dilation - 1};
  const int64_t pads = p.stride == 1;
  const Dims pad{pads * p.dilation * (p.kernel_height - 1) / 2,
                 pads * p.dilation * (p.kernel_width - 1) / 2};

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post_ops;
  if (p.accumulate) post_ops.append_sum();
  if (p.affine_relu) {
    const memory::desc channels = Channels(p);
    post_ops.append_binary(algorithm::binary_mul, channels);
    post_ops.append_binary(algorithm::binary_add, channels);
    post_ops.append_eltwise(algorithm::eltwise_relu, kNoSlope, 0);
  }
  attributes.set_post_ops(post_ops);
  const auto direct = algorithm::convolution_direct;
  dnnl::convolution_forward::primitive_desc forward(
      Cpu(),
      p.direction == kForward ? dnnl::prop_kind::forward_inference
                              : dnnl::prop_kind::forward_training,
      direct, x, kernel, y, strides, dilates, pad, pad,
      p.direction == kForward ? attributes : dnnl::primitive_attr());
  if (p.direction == kForward)
    return Finish(p, forward, x, forward.weights_desc(), y);
  if (p.direction == kInputGradient) {
    dnnl::convolution_backward_data::primitive_desc backward(
        Cpu(), direct, x, kernel, y, strides, dilates, pad, pad, forward,
        attributes);
    return Finish(p, backward, x, backward.weights_desc(), y);
  }
  // Sums over all pixels: kept in float32 until the very end.
  const memory::desc gradient(kernel_dims, memory::data_type::f32, Tag::any);
  dnnl::convolution_backward_weights::primitive_desc backward(
      Cpu(), direct, x, gradient, y, strides, dilates, pad, pad, forward,
      attributes);
  return Finish(p, backward, x, backward.diff_weights_desc(), y);
}

std::shared_ptr<const Plan> GetPlan(const Problem& problem) {
  static std::mutex mutex;
  static std::map<decltype(problem.Key()), std::shared_ptr<const Plan>> plans;
  std::lock_guard<std::mutex> lock(mutex);
  if (plans.size() > 4096) plans.clear();  // Callers hold on to their own.
  auto& plan = plans[problem.Key()];
  if (!plan) plan = std::make_shared<const Plan>(MakePlan(problem));
  return plan;
}

size_t Aligned(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

void Run(const Problem& problem, void* x, char* user_kernel, void* y,
         float* factor, float* offset, team::Workspace& workspace) {
  const auto plan = GetPlan(problem);
  const size_t kernel_bytes =
      plan->reorders() ? Aligned(plan->kernel.get_size()) : 0;
  char* space = workspace.Reserve(
      kernel_bytes + std::max(plan->scratch.get_size(),
                              plan->reorders() ? plan->reorder_scratch.get_size()
                                               : 0));
  dnnl::stream stream(Cpu());
  memory outside(plan->user_kernel, Cpu(), user_kernel);
  memory kernel(plan->kernel, Cpu(), plan->reorders() ? space : user_kernel);
  memory scratch(plan->scratch, Cpu(), space + kernel_bytes);
  auto reorder = [&](const memory& from, const memory& to) {
    memory scratch(plan->reorder_scratch, Cpu(), space + kernel_bytes);
    plan->reorder.execute(stream, {{DNNL_ARG_FROM, from},
                                   {DNNL_ARG_TO, to},
                                   {DNNL_ARG_SCRATCHPAD, scratch}});
  };
  memory inputs(plan->x, Cpu(), x), outputs(plan->y, Cpu(), y);

  const bool backwards = problem.direction == kKernelGradient;
  if (plan->reorders() && !backwards) reorder(outside, kernel);
  const bool forward = problem.direction == kForward;
  std::unordered_map<int, memory> arguments{
      {problem.direction == kInputGradient ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC,
       inputs},
      {backwards ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, kernel},
      {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, outputs},
      {DNNL_ARG_SCRATCHPAD, scratch}};
  if (problem.affine_relu) {
    const int first = problem.accumulate;  // Of the operations that follow.
    const auto argument = [&](int i) {
      return DNNL_ARG_ATTR_MULTIPLE_POST_OP(first + i) | DNNL_ARG_SRC_1;
    };
    const memory::desc channels = Channels(problem);
    arguments.insert({argument(0), memory(channels, Cpu(), factor)});
    arguments.insert({argument(1), memory(channels, Cpu(), offset)});
  }
  plan->convolution.execute(stream, arguments);
  if (plan->reorders() && backwards) reorder(kernel, outside);
  stream.wait();
}

memory::data_type TypeOf(const ffi::AnyBuffer& buffer) {
  if (buffer.element_type() == ffi::F32) return memory::data_type::f32;
  if (buffer.element_type() == ffi::BF16) return memory::data_type::bf16;
  throw std::invalid_argument("float32 and bfloat16 are supported");
}

// Computes the gradient of a part of a kernel without oneDNN; returns whether
// that is possible here, and worth it.
bool RunSmall(const Problem& p, void* x, void* dkernel, void* dy) {
  if (p.direction != kKernelGradient || p.kernel_height != 3 ||
      p.kernel_width != 3 || p.dilation != 1 || p.stride != 1 ||
      p.y_type != p.type || p.kernel_type != memory::data_type::f32)
    return false;
  const kernel_gradient::Shape shape{p.batch, p.height, p.width,
                                     p.in,    p.out,    p.all_in};
  const auto run = [&](auto element) {
    using T = decltype(element);
    return kernel_gradient::Run(static_cast<T*>(x), static_cast<T*>(dy), shape,
                                static_cast<float*>(dkernel));
  };
  return p.type == memory::data_type::f32 ? run(float{}) : run(uint16_t{});
}

// Runs one convolution for each part of the inputs; with factor and offset,
// float32[K], the last one ends with relu(y * factor + offset).
ffi::Error Convolve(Direction direction, const std::vector<ffi::AnyBuffer>& xs,
                    ffi::AnyBuffer kernel, ffi::AnyBuffer y, int64_t dilation,
                    int64_t stride, int64_t threads, float* factor = nullptr,
                    float* offset = nullptr) {
  const auto k = kernel.dimensions(), d = y.dimensions();
  std::string what = "convolution of";
  for (auto n : d) what += " " + std::to_string(n);
  for (auto n : k) what += " " + std::to_string(n);
  try {
    team::Turn turn(threads);
    int64_t first = 0;
    for (const auto& x : xs) {
      const int64_t in = x.dimensions()[3];
      const Problem problem{
          direction, TypeOf(x), TypeOf(kernel), TypeOf(y), d[0],
          d[1],      d[2],      in,             k[3],      k[2],
          k[0],      k[1],      dilation,       stride,    threads,
          direction == kForward && first > 0,
          factor && first + in == k[2]};
      const size_t width = kernel.element_type() == ffi::F32 ? 4 : 2;
      char* const part = (char*)kernel.untyped_data() + first * k[3] * width;
      if (!RunSmall(problem, x.untyped_data(), part, y.untyped_data()))
        Run(problem, x.untyped_data(), part, y.untyped_data(), factor, offset,
            turn.workspace());
      first += in;
    }
  } catch (const std::exception& error) {
    return ffi::Error::Internal("oneDNN: " + what + ": " + error.what());
  }
  return ffi::Error::Success();
}

std::vector<ffi::AnyBuffer> Parts(const ffi::RemainingArgs& inputs) {
  std::vector<ffi::AnyBuffer> xs;
  for (size_t i = 0; i < inputs.size(); ++i)
    xs.push_back(*inputs.get<ffi::AnyBuffer>(i));
  return xs;
}

ffi::Error Forward(ffi::AnyBuffer kernel, ffi::RemainingArgs inputs,
                   ffi::Result<ffi::AnyBuffer> y, int64_t dilation,
                   int64_t stride, int64_t threads) {
  return Convolve(kForward, Parts(inputs), kernel, *y, dilation, stride,
                  threads);
}

ffi::Error ForwardAffineRelu(ffi::AnyBuffer kernel,
                             ffi::Buffer<ffi::F32> factor,
                             ffi::Buffer<ffi::F32> offset,
                             ffi::RemainingArgs inputs,
                             ffi::Result<ffi::AnyBuffer> y, int64_t dilation,
                             int64_t stride, int64_t threads) {
  return Convolve(kForward, Parts(inputs), kernel, *y, dilation, stride,
                  threads, factor.typed_data(), offset.typed_data());
}

ffi::Error InputGradient(ffi::AnyBuffer kernel, ffi::AnyBuffer dy,
                         ffi::RemainingRets gradients, int64_t dilation,
                         int64_t stride, int64_t threads) {
  std::vector<ffi::AnyBuffer> xs;
  for (size_t i = 0; i < gradients.size(); ++i)
    xs.push_back(**gradients.get<ffi::AnyBuffer>(i));
  return Convolve(kInputGradient, xs, kernel, dy, dilation, stride, threads);
}

ffi::Error KernelGradient(ffi::AnyBuffer dy, ffi::RemainingArgs inputs,
                          ffi::Result<ffi::AnyBuffer> dkernel,
                          int64_t dilation, int64_t stride,
                          int64_t threads) {
  return Convolve(kKernelGradient, Parts(inputs), *dkernel, dy, dilation,
                  stride, threads);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv, Forward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("threads"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_affine_relu, ForwardAffineRelu,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("threads"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_dx, InputGradient,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingRets()
                                  .Attr<int64_t>("dilation")
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("threads"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_dk, KernelGradient,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("threads"));
