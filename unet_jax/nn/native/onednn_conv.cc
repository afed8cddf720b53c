// Convolutions for XLA's CPU backend, by oneDNN: with stride 1 and SAME
// padding, or with a stride that equals the kernel's size and no padding.
//
// There are four FFI handlers: forward; forward followed by an affine map and
// ReLU; the gradient of the inputs; the gradient of the kernel. Activations are
// [B, H, W, C], kernels [kh, kw, C, K], as in JAX. The input may be given in
// parts, which stand for their concatenation along the channels; the
// concatenation is never made. build.py compiles this file at first use.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
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
using Any = ffi::AnyBuffer;
using AnyOut = ffi::Result<ffi::AnyBuffer>;
using Channels = ffi::Buffer<ffi::F32>;  // One value per channel of y.
using Dims = memory::dims;
using DataType = memory::data_type;

enum Direction { kForward, kInputGradient, kKernelGradient };

// Negative slope of the ReLU. With a slope of exactly 0, oneDNN's ReLU turns
// NaN into 0.
constexpr float kTinySlope = 1e-30f;

// The attributes of every handler.
struct Settings {
  int64_t dilation, stride, threads;
};

// A convolution, as far as oneDNN's choice of an implementation depends on it.
struct Problem {
  Direction direction;
  DataType x_type, kernel_type, y_type;
  int64_t batch, height, width;  // Dimensions of y.
  int64_t in;                    // Channels of this part of the input.
  int64_t all_in;                // Channels of all parts together.
  int64_t out;                   // Channels of y.
  int64_t kernel_height, kernel_width;
  Settings settings;
  bool accumulate;   // Adds the result to the output.
  bool affine_relu;  // Applies relu(y * factor + offset) last.

  auto Key() const {
    return std::make_tuple(direction, x_type, kernel_type, y_type, batch,
                           height, width, in, all_in, out, kernel_height,
                           kernel_width, settings.dilation, settings.stride,
                           settings.threads, accumulate, affine_relu);
  }
};

// oneDNN's primitives for a Problem. Plans are immutable; threads share them.
struct Plan {
  dnnl::primitive convolution, reorder;
  memory::desc x, kernel, y;  // In the convolution's own layouts.
  memory::desc user_kernel, scratch, reorder_scratch;
  bool reorders() const { return kernel != user_kernel; }
};

const dnnl::engine& Cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// Describes the factors, or the offsets, of the affine map.
memory::desc DescribeChannels(const Problem& p) {
  return memory::desc({1, p.out, 1, 1}, DataType::f32,
                      memory::format_tag::nhwc);
}

// Makes a plan from oneDNN's descriptor of a convolution. If the convolution
// wants its own layout of the kernel, the plan includes the reorder.
template <typename Descriptor>
Plan Finish(const Problem& p, const Descriptor& descriptor,
            const memory::desc& x, const memory::desc& kernel,
            const memory::desc& y) {
  Plan plan;
  plan.convolution = dnnl::primitive(descriptor);
  plan.x = x, plan.kernel = kernel, plan.y = y;
  plan.scratch = descriptor.scratchpad_desc();
  // JAX's [kh, kw, C, K] as a strided view in oneDNN's order (K, C, kh, kw), so
  // a part of the channels needs no copy.
  const int64_t row = p.all_in * p.out;
  plan.user_kernel =
      memory::desc({p.out, p.in, p.kernel_height, p.kernel_width},
                   p.kernel_type, Dims{1, p.out, p.kernel_width * row, row});
  if (!plan.reorders()) return plan;
  const bool backwards = p.direction == kKernelGradient;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  // oneDNN fixes a reorder's number of threads when the reorder is created.
  const size_t bytes = std::max(kernel.get_size(), plan.user_kernel.get_size());
  omp_set_num_threads(team::ThreadsFor(bytes, p.settings.threads));
  const dnnl::reorder::primitive_desc reorder(
      Cpu(), backwards ? plan.kernel : plan.user_kernel, Cpu(),
      backwards ? plan.user_kernel : plan.kernel, attributes);
  omp_set_num_threads(p.settings.threads);
  plan.reorder = dnnl::reorder(reorder);
  plan.reorder_scratch = reorder.scratchpad_desc();
  return plan;
}

Plan MakePlan(const Problem& p) {
  using dnnl::algorithm;
  using Tag = memory::format_tag;
  const int64_t dilation = p.settings.dilation, stride = p.settings.stride;
  const memory::desc x({p.batch, p.in, p.height * stride, p.width * stride},
                       p.x_type, Tag::nhwc);
  const memory::desc y({p.batch, p.out, p.height, p.width}, p.y_type,
                       Tag::nhwc);
  const Dims kernel_dims{p.out, p.in, p.kernel_height, p.kernel_width};
  const memory::desc kernel(kernel_dims, p.x_type, Tag::any);
  const Dims strides{stride, stride};
  const Dims dilates{dilation - 1, dilation - 1};
  const int64_t pads = stride == 1;
  const Dims pad{pads * dilation * (p.kernel_height - 1) / 2,
                 pads * dilation * (p.kernel_width - 1) / 2};

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post_ops;
  if (p.accumulate) post_ops.append_sum();
  if (p.affine_relu) {
    const memory::desc channels = DescribeChannels(p);
    post_ops.append_binary(algorithm::binary_mul, channels);
    post_ops.append_binary(algorithm::binary_add, channels);
    post_ops.append_eltwise(algorithm::eltwise_relu, kTinySlope, 0);
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
  // The kernel's gradient is a sum over all pixels, so it is in float32.
  const memory::desc gradient(kernel_dims, DataType::f32, Tag::any);
  dnnl::convolution_backward_weights::primitive_desc backward(
      Cpu(), direct, x, gradient, y, strides, dilates, pad, pad, forward,
      attributes);
  return Finish(p, backward, x, backward.diff_weights_desc(), y);
}

std::shared_ptr<const Plan> GetPlan(const Problem& problem) {
  static std::mutex mutex;
  static std::map<decltype(problem.Key()), std::shared_ptr<const Plan>> plans;
  std::lock_guard<std::mutex> lock(mutex);
  if (plans.size() > 4096) plans.clear();  // Plans in use have other owners.
  auto& plan = plans[problem.Key()];
  if (!plan) plan = std::make_shared<const Plan>(MakePlan(problem));
  return plan;
}

size_t Aligned(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

// Runs a convolution with oneDNN. `factor` and `offset` are read only if
// problem.affine_relu is set.
void Run(const Problem& problem, void* x, void* user_kernel, void* y,
         float* factor, float* offset, team::Workspace& workspace) {
  const auto plan = GetPlan(problem);
  const size_t kernel_bytes =
      plan->reorders() ? Aligned(plan->kernel.get_size()) : 0;
  char* space = workspace.Reserve(
      kernel_bytes +
      std::max(plan->scratch.get_size(),
               plan->reorders() ? plan->reorder_scratch.get_size() : 0));
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
    const int first = problem.accumulate;  // Post-op 0 is the sum, if any.
    const auto argument = [&](int i) {
      return DNNL_ARG_ATTR_MULTIPLE_POST_OP(first + i) | DNNL_ARG_SRC_1;
    };
    const memory::desc channels = DescribeChannels(problem);
    arguments.insert({argument(0), memory(channels, Cpu(), factor)});
    arguments.insert({argument(1), memory(channels, Cpu(), offset)});
  }
  plan->convolution.execute(stream, arguments);
  if (plan->reorders() && backwards) reorder(kernel, outside);
  stream.wait();
}

DataType TypeOf(const Any& buffer) {
  if (buffer.element_type() == ffi::F32) return DataType::f32;
  if (buffer.element_type() == ffi::BF16) return DataType::bf16;
  throw std::invalid_argument("conv takes float32 or bfloat16");
}

// Computes the gradient of a part of a kernel without oneDNN. Returns false if
// that can't be done or may be slower.
bool RunSmall(const Problem& p, void* x, void* dkernel, void* dy) {
  if (p.direction != kKernelGradient || p.kernel_height != 3 ||
      p.kernel_width != 3 || p.settings.dilation != 1 ||
      p.settings.stride != 1 || p.y_type != p.x_type ||
      p.kernel_type != DataType::f32)
    return false;
  const kernel_gradient::Shape shape{p.batch, p.height, p.width,
                                     p.in,    p.out,    p.all_in};
  const auto run = [&](auto element) {
    using T = decltype(element);
    return kernel_gradient::Run(static_cast<T*>(x), static_cast<T*>(dy), shape,
                                static_cast<float*>(dkernel));
  };
  return p.x_type == DataType::f32 ? run(float{}) : run(uint16_t{});
}

// Runs one convolution for each part of the input. With `factor` and `offset`,
// float32[K], the last convolution ends with relu(y * factor + offset).
ffi::Error Convolve(Direction direction, const Settings& settings,
                    const std::vector<Any>& xs, const Any& kernel, const Any& y,
                    float* factor = nullptr, float* offset = nullptr) {
  const auto k = kernel.dimensions(), d = y.dimensions();
  try {
    team::Turn turn(settings.threads);
    int64_t first = 0;
    for (const Any& x : xs) {
      Problem p;
      p.direction = direction;
      p.x_type = TypeOf(x);
      p.kernel_type = TypeOf(kernel);
      p.y_type = TypeOf(y);
      p.batch = d[0], p.height = d[1], p.width = d[2];
      p.in = x.dimensions()[3], p.all_in = k[2], p.out = k[3];
      p.kernel_height = k[0], p.kernel_width = k[1];
      p.settings = settings;
      p.accumulate = direction == kForward && first > 0;
      p.affine_relu = factor && first + p.in == p.all_in;
      const size_t width = p.kernel_type == DataType::f32 ? 4 : 2;
      void* const part =
          static_cast<char*>(kernel.untyped_data()) + first * p.out * width;
      if (!RunSmall(p, x.untyped_data(), part, y.untyped_data()))
        Run(p, x.untyped_data(), part, y.untyped_data(), factor, offset,
            turn.workspace());
      first += p.in;
    }
  } catch (const std::exception& error) {
    std::string shapes;
    for (auto n : d) shapes += " " + std::to_string(n);
    for (auto n : k) shapes += " " + std::to_string(n);
    return ffi::Error::Internal("convolution, shapes of y and kernel" + shapes +
                                ": " + error.what());
  }
  return ffi::Error::Success();
}

std::vector<Any> Parts(const ffi::RemainingArgs& inputs) {
  std::vector<Any> xs;
  for (size_t i = 0; i < inputs.size(); ++i) xs.push_back(*inputs.get<Any>(i));
  return xs;
}

std::vector<Any> Parts(const ffi::RemainingRets& outputs) {
  std::vector<Any> xs;
  for (size_t i = 0; i < outputs.size(); ++i)
    xs.push_back(**outputs.get<Any>(i));
  return xs;
}

// Begins the signature of every handler.
auto Bind() { return ffi::Ffi::Bind().Attrs<Settings>(); }

}  // namespace

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(Settings,
                                      ffi::StructMember<int64_t>("dilation"),
                                      ffi::StructMember<int64_t>("stride"),
                                      ffi::StructMember<int64_t>("threads"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv,
                              ([](Settings settings, Any kernel,
                                  ffi::RemainingArgs xs, AnyOut y) {
                                return Convolve(kForward, settings, Parts(xs),
                                                kernel, *y);
                              }),
                              Bind().Arg<Any>().RemainingArgs().Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_affine_relu,
                              ([](Settings settings, Any kernel,
                                  Channels factor, Channels offset,
                                  ffi::RemainingArgs xs, AnyOut y) {
                                return Convolve(kForward, settings, Parts(xs),
                                                kernel, *y, factor.typed_data(),
                                                offset.typed_data());
                              }),
                              Bind()
                                  .Arg<Any>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .RemainingArgs()
                                  .Ret<Any>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_dx,
                              ([](Settings settings, Any kernel, Any dy,
                                  ffi::RemainingRets dxs) {
                                return Convolve(kInputGradient, settings,
                                                Parts(dxs), kernel, dy);
                              }),
                              Bind().Arg<Any>().Arg<Any>().RemainingRets());

XLA_FFI_DEFINE_HANDLER_SYMBOL(unet_jax_conv_dk,
                              ([](Settings settings, Any dy,
                                  ffi::RemainingArgs xs, AnyOut dkernel) {
                                return Convolve(kKernelGradient, settings,
                                                Parts(xs), *dkernel, dy);
                              }),
                              Bind().Arg<Any>().RemainingArgs().Ret<Any>());
