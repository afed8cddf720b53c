// The passes of batch norm with ReLU, forward and backward, for XLA's CPU
// backend.
//
// Tensors are [rows, C], rows = B * H * W. A pass reads each tensor once; XLA
// reads them several times and reduces columns slowly. Rows are summed in
// chunks of a fixed size, and the chunks are added in order, so the result has
// the same bits for every number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Vec [[gnu::vector_size(64)]] = float;
using Bits [[gnu::vector_size(64)]] = uint32_t;
using Half [[gnu::vector_size(32)]] = uint16_t;
constexpr int64_t kLanes = 16;

// Load and Store move vectors between memory and registers. A bfloat16 is the
// upper half of a float32.
inline Vec Load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Vec Load(const uint16_t* p) {
  Half half;
  std::memcpy(&half, p, sizeof half);
  const Bits bits = __builtin_convertvector(half, Bits) << 16;
  return reinterpret_cast<Vec>(bits);
}
inline void Store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline void Store(uint16_t* p, Vec v) {
  const Bits bits = reinterpret_cast<Bits>(v);
  // Rounds to nearest, ties to even; a NaN stays a NaN.
  Bits rounded = bits + 0x7fff + ((bits >> 16) & 1);
  rounded = v == v ? rounded : bits | 0x400000;
  const Half half = __builtin_convertvector(rounded >> 16, Half);
  std::memcpy(p, &half, sizeof half);
}

// LoadSome and StoreSome do so for the last `n` < kLanes channels of a row.
template <typename T>
inline Vec LoadSome(const T* p, int64_t n) {
  T padded[kLanes] = {};
  std::memcpy(padded, p, n * sizeof(T));
  return Load(padded);
}
template <typename T>
inline void StoreSome(T* p, int64_t n, Vec v) {
  T padded[kLanes];
  Store(padded, v);
  std::memcpy(p, padded, n * sizeof(T));
}

// Calls visit(channel, load, store) for every vector of channels.
template <typename Visit>
inline void ForChannels(int64_t channels, Visit visit) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    visit(
        c, [&](const auto* p) { return Load(p); },
        [&](auto* p, Vec v) { Store(p, v); });
  const int64_t rest = channels - c;
  if (rest)
    visit(
        c, [&](const auto* p) { return LoadSome(p, rest); },
        [&](auto* p, Vec v) { StoreSome(p, rest, v); });
}

int64_t RowsOfChunk(int64_t channels) {
  return std::max<int64_t>(8, 16384 / channels);
}

// Computes two sums over all rows, for each channel. terms(channel, load)
// returns a function (offset, first sum, second sum) that adds one row's terms
// to the sums.
template <typename Terms>
void SumRows(int64_t rows, int64_t channels, const Terms& terms, float* first,
             float* second) {
  const int64_t chunk = RowsOfChunk(channels);
  const int64_t chunks = (rows + chunk - 1) / chunk;
  std::vector<float> partial(2 * chunks * channels);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < chunks; ++i) {
    float* sums = &partial[2 * i * channels];
    const int64_t begin = i * chunk, end = std::min(rows, begin + chunk);
    ForChannels(channels, [&](int64_t c, auto load, auto store) {
      Vec a[2] = {}, b[2] = {};
      const auto of_row = terms(c, load);
      int64_t row = begin;
      for (; row + 2 <= end; row += 2) {
        of_row(row * channels + c, a[0], b[0]);
        of_row((row + 1) * channels + c, a[1], b[1]);
      }
      if (row < end) of_row(row * channels + c, a[0], b[0]);
      store(sums + c, a[0] + a[1]);
      store(sums + channels + c, b[0] + b[1]);
    });
  }
  for (int64_t c = 0; c < channels; ++c) {
    double a = 0, b = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      a += partial[2 * i * channels + c];
      b += partial[(2 * i + 1) * channels + c];
    }
    first[c] = a, second[c] = b;
  }
}

// Visits all rows and vectors of channels. work(channel, load, store) returns a
// function that processes the vector at an offset.
template <typename Work>
void ForRows(int64_t rows, int64_t channels, const Work& work) {
  const int64_t chunk = RowsOfChunk(channels);
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk);
    ForChannels(channels, [&](int64_t c, auto load, auto store) {
      const auto of_row = work(c, load, store);
      for (int64_t row = begin; row < end; ++row) of_row(row * channels + c);
    });
  }
}

const Vec kZero = {};

// Writes the mean and the variance over the rows. It sums x - shift and its
// square, where shift is the first row. The squared values are then about as
// small as the deviation itself, so few digits are lost.
template <typename T>
void Moments(const T* x, int64_t rows, int64_t channels, float* mean,
             float* variance) {
  SumRows(
      rows, channels,
      [&](int64_t c, auto load) {
        const Vec shift = load(x + c);
        return [=](int64_t at, Vec& sum, Vec& square) {
          const Vec value = load(x + at) - shift;
          sum += value;
          square += value * value;
        };
      },
      mean, variance);
  std::vector<float> first(channels);
  ForChannels(channels, [&](int64_t c, auto load, auto store) {
    store(&first[c], load(x + c));
  });
  for (int64_t c = 0; c < channels; ++c) {
    const double shifted = mean[c] / static_cast<double>(rows);
    variance[c] = std::max(0.0, variance[c] / rows - shifted * shifted);
    mean[c] = first[c] + shifted;
  }
}

// Writes relu(x * factor + offset).
template <typename T>
void Normalize(const T* x, const float* factor, const float* offset,
               int64_t rows, int64_t channels, T* y) {
  ForRows(rows, channels, [&](int64_t c, auto load, auto store) {
    const Vec a = load(factor + c), b = load(offset + c);
    return [=](int64_t at) {
      const Vec value = load(x + at) * a + b;
      store(y + at, value <= 0 ? kZero : value);  // A NaN stays a NaN.
    };
  });
}

// Writes the sums of g and of g * (x - mean), where g is dy where the ReLU's
// result is positive, and 0 elsewhere.
template <typename T>
void GradientSums(const T* x, const T* dy, const float* factor,
                  const float* offset, const float* mean, int64_t rows,
                  int64_t channels, float* sum, float* product) {
  SumRows(
      rows, channels,
      [&](int64_t c, auto load) {
        const Vec a = load(factor + c), b = load(offset + c);
        const Vec center = load(mean + c);
        return [=](int64_t at, Vec& sum, Vec& product) {
          const Vec value = load(x + at), g = load(dy + at);
          const Vec passed = value * a + b > 0 ? g : kZero;
          sum += passed;
          product += passed * (value - center);
        };
      },
      sum, product);
}

// Writes factor * g + slope * x + constant, with g as above.
template <typename T>
void Gradient(const T* x, const T* dy, const float* factor, const float* offset,
              const float* slope, const float* constant, int64_t rows,
              int64_t channels, T* dx) {
  ForRows(rows, channels, [&](int64_t c, auto load, auto store) {
    const Vec a = load(factor + c), b = load(offset + c);
    const Vec p = load(slope + c), q = load(constant + c);
    return [=](int64_t at) {
      const Vec value = load(x + at), g = load(dy + at);
      const Vec passed = value * a + b > 0 ? g : kZero;
      store(dx + at, a * passed + p * value + q);
    };
  });
}

// Waits for a turn, then calls work(T{}), where T is the type of x's elements.
template <typename Work>
ffi::Error Dispatch(ffi::AnyBuffer x, int64_t threads, Work work) {
  try {
    team::Turn turn(team::ThreadsFor(x.size_bytes(), threads));
    if (x.element_type() == ffi::F32)
      work(float{});
    else if (x.element_type() == ffi::BF16)
      work(uint16_t{});
    else
      return ffi::Error::InvalidArgument(
          "batch norm takes float32 or bfloat16");
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
  return ffi::Error::Success();
}

using Channels = ffi::Buffer<ffi::F32>;
using ChannelsOut = ffi::Result<Channels>;
using Any = ffi::AnyBuffer;
using AnyOut = ffi::Result<ffi::AnyBuffer>;

template <typename T>
T* In(const Any& buffer) {
  return static_cast<T*>(buffer.untyped_data());
}
int64_t LastOf(Any x) { return x.dimensions().back(); }
int64_t RowsOf(Any x) { return x.element_count() / LastOf(x); }

// The attributes of every handler.
struct Settings {
  int64_t threads;
};

}  // namespace

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(Settings,
                                      ffi::StructMember<int64_t>("threads"));

// XLA derives a handler's operands and results from its signature.
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    unet_jax_moments,
    ([](Settings settings, Any x, ChannelsOut mean, ChannelsOut variance) {
      return Dispatch(x, settings.threads, [&](auto t) {
        Moments(In<decltype(t)>(x), RowsOf(x), LastOf(x), mean->typed_data(),
                variance->typed_data());
      });
    }));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    unet_jax_normalize,
    ([](Settings settings, Any x, Channels a, Channels b, AnyOut y) {
      return Dispatch(x, settings.threads, [&](auto t) {
        using T = decltype(t);
        Normalize(In<T>(x), a.typed_data(), b.typed_data(), RowsOf(x),
                  LastOf(x), In<T>(*y));
      });
    }));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    unet_jax_gradient_sums,
    ([](Settings settings, Any x, Any dy, Channels a, Channels b, Channels mean,
        ChannelsOut sum, ChannelsOut product) {
      return Dispatch(x, settings.threads, [&](auto t) {
        using T = decltype(t);
        GradientSums(In<T>(x), In<T>(dy), a.typed_data(), b.typed_data(),
                     mean.typed_data(), RowsOf(x), LastOf(x), sum->typed_data(),
                     product->typed_data());
      });
    }));

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    unet_jax_gradient, ([](Settings settings, Any x, Any dy, Channels a,
                           Channels b, Channels p, Channels q, AnyOut dx) {
      return Dispatch(x, settings.threads, [&](auto t) {
        using T = decltype(t);
        Gradient(In<T>(x), In<T>(dy), a.typed_data(), b.typed_data(),
                 p.typed_data(), q.typed_data(), RowsOf(x), LastOf(x),
                 In<T>(*dx));
      });
    }));
