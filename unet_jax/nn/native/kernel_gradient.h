// The gradient of a 3x3 kernel with few channels, where oneDNN is slow: on
// AMD's Zen 4 oneDNN took up to twice the time of its other convolutions of
// the same size.
//
// dkernel[i, j, c, k] = sum over b, h, w of x[b, h + i - 1, w + j - 1, c] *
// dy[b, h, w, k]. Registers hold the sums of the 3 taps of a kernel row, for
// kTile pairs of a channel c and a vector of k. For each pixel, a word of x is
// broadcast and multiplied by a vector of dy. A word is one float32, or two
// neighbouring bfloat16 pixels, whose products one instruction adds.
//
// The pixels are summed in a fixed number of chunks, and the chunks are added
// in order, so the result has the same bits for every number of threads.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace kernel_gradient {

constexpr int64_t kLanes = 16;
constexpr int64_t kTile = 8;      // With 3 taps: 24 registers of sums.
constexpr int64_t kBlock = 2048;  // Pixels whose words fit into the cache.
// The number of chunks limits how many cores share the work; kMaxSums limits
// the memory of their sums, in floats.
constexpr int64_t kMinChunks = 16, kMaxChunks = 64, kMaxSums = 1 << 20;

struct Shape {
  int64_t batch, height, width, in, out;
  int64_t all_in;  // Channels of all parts: the rows of dkernel for a tap.
};

#ifdef __AVX512F__

using Vec [[gnu::vector_size(64)]] = float;

// Defines for an element type: the pixels that a word holds (kPixels), how
// words are multiplied (Add), and up to how many weights per tap this code is
// faster than oneDNN (kMaxWeights).
template <typename Element>
struct Op;
template <typename Element>
constexpr bool has_op = false;

template <>
struct Op<float> {
  using Element = float;
  using Word = float;
  static constexpr int64_t kPixels = 1;
  static constexpr int64_t kMaxWeights = 128 * 128;
  static Word Join(float x, float) { return x; }
  static void Add(Vec& sum, const Word* x, const Word* dy) {
    Vec v;
    std::memcpy(&v, dy, sizeof v);
    sum += *x * v;
  }
};

template <>
constexpr bool has_op<float> = true;

#ifdef __AVX512BF16__
template <>
struct Op<uint16_t> {
  using Element = uint16_t;
  using Word = uint32_t;
  static constexpr int64_t kPixels = 2;
  static constexpr int64_t kMaxWeights = 64 * 128;
  static Word Join(uint16_t low, uint16_t high) {
    return low | static_cast<Word>(high) << 16;
  }
  static void Add(Vec& sum, const Word* x, const Word* dy) {
    sum = reinterpret_cast<Vec>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                         reinterpret_cast<__m512bh>(_mm512_loadu_si512(dy)),
                         reinterpret_cast<__m512bh>(_mm512_set1_epi32(*x))));
  }
};
template <>
constexpr bool has_op<uint16_t> = true;
#endif

// Packs a row of pixels into words: out[group][i][channel in the group] holds
// the kPixels pixels from first + i * kPixels on. Pixels outside the row are 0;
// a null row has only such pixels.
template <typename O, int Group>
void Pack(const typename O::Element* row, int64_t width, int64_t channels,
          int64_t first, int64_t count, int64_t group_stride,
          const typename O::Element* zeros, typename O::Word* out) {
  const auto pixel = [&](int64_t w) {
    return row && 0 <= w && w < width ? row + w * channels : zeros;
  };
  for (int64_t i = 0; i < count; ++i) {
    const int64_t w = first + i * O::kPixels;
    const auto *low = pixel(w), *high = pixel(w + 1);
    for (int64_t c = 0; c < channels; c += Group) {
      typename O::Word* to = out + c / Group * group_stride + i * Group;
      for (int j = 0; j < Group; ++j) to[j] = O::Join(low[c + j], high[c + j]);
    }
  }
}

// Adds the products of rows of words to sums[tap][channel][vector], for
// kTile / Vectors channels of x and Vectors vectors of dy.
template <typename O, int Vectors>
void AddRows(const typename O::Word* const (&taps)[3],
             const typename O::Word* dy, int64_t rows, int64_t words,
             int64_t x_row, Vec (&sums)[3][kTile]) {
  constexpr int64_t kChannels = kTile / Vectors, kOut = Vectors * kLanes;
  Vec local[3][kTile];
  std::memcpy(local, sums, sizeof local);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < words; ++i)
#pragma GCC unroll 3
      for (int tap = 0; tap < 3; ++tap)
#pragma GCC unroll 8
        for (int t = 0; t < kTile; ++t)
          O::Add(local[tap][t],
                 taps[tap] + row * x_row + i * kChannels + t / Vectors,
                 dy + (row * words + i) * kOut + t % Vectors * kLanes);
  std::memcpy(sums, local, sizeof local);
}

// Adds the products of rows begin to end of dy to `sums`. Rows are numbered
// through all images of the batch.
template <typename O, int Vectors>
void AddChunk(const typename O::Element* x, const typename O::Element* dy,
              const Shape& s, int64_t begin, int64_t end, Vec* sums) {
  using Word = typename O::Word;
  constexpr int64_t kPixels = O::kPixels;
  constexpr int64_t kChannels = kTile / Vectors, kOut = Vectors * kLanes;
  const int64_t words = (s.width + kPixels - 1) / kPixels;
  const int64_t block = std::min(s.height, (kBlock + s.width - 1) / s.width);
  // A word begins at every kPixels-th pixel of the padded row. Where a word
  // holds two pixels, a second list of words (`odd`) begins at the odd pixels.
  const int64_t x_words = words + 3 - kPixels;
  const int64_t x_row = x_words * kChannels;
  const int64_t x_group = (block + 2) * x_row, y_group = block * words * kOut;
  std::vector<Word> xs(kPixels * s.in / kChannels * x_group);
  std::vector<Word> dys(s.out / kOut * y_group);
  const std::vector<typename O::Element> zeros(std::max(s.in, s.out));
  Word* const odd = xs.data() + (kPixels - 1) * s.in / kChannels * x_group;
  for (int64_t first = begin, rows; first < end; first += rows) {
    // A block of rows does not cross the border of an image.
    const int64_t image = first / s.height, top = first % s.height;
    rows = std::min({block, end - first, s.height - top});
    for (int64_t i = 0; i < rows + 2; ++i) {
      const int64_t h = top + i - 1;
      const auto* row = 0 <= h && h < s.height
                            ? x + (image * s.height + h) * s.width * s.in
                            : nullptr;
      Pack<O, kChannels>(row, s.width, s.in, -1, x_words, x_group, zeros.data(),
                         &xs[i * x_row]);
      if (kPixels == 2)
        Pack<O, kChannels>(row, s.width, s.in, 0, words, x_group, zeros.data(),
                           odd + i * x_row);
    }
    for (int64_t i = 0; i < rows; ++i)
      Pack<O, kOut>(dy + (first + i) * s.width * s.out, s.width, s.out, 0,
                    words, y_group, zeros.data(), &dys[i * words * kOut]);
    auto* sum = reinterpret_cast<Vec(*)[3][kTile]>(sums);
    for (int64_t kernel_row = 0; kernel_row < 3; ++kernel_row)
      for (int64_t c = 0; c < s.in / kChannels; ++c)
        for (int64_t k = 0; k < s.out / kOut; ++k) {
          const int64_t at = c * x_group + kernel_row * x_row;
          const Word* even = xs.data() + at;
          const Word* const taps[3] = {
              even, kPixels == 2 ? odd + at : even + kChannels,
              even + (3 - kPixels) * kChannels};
          AddRows<O, Vectors>(taps, dys.data() + k * y_group, rows, words,
                              x_row, *sum++);
        }
  }
}

// Writes dkernel, float32[3, 3, in of all_in, out].
template <typename O, int Vectors>
void Sum(const typename O::Element* x, const typename O::Element* dy,
         const Shape& s, float* dkernel) {
  constexpr int64_t kChannels = kTile / Vectors, kOut = Vectors * kLanes;
  const int64_t size = 9 * s.in * s.out / kLanes;  // Vectors of sums a chunk.
  const int64_t rows = s.batch * s.height;
  const int64_t chunks = std::min(
      rows, std::clamp(kMaxSums / (size * kLanes), kMinChunks, kMaxChunks));
  std::vector<Vec> sums(chunks * size);
  std::exception_ptr error;  // An exception must not leave an OpenMP thread.
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < chunks; ++i) {
    try {
      AddChunk<O, Vectors>(x, dy, s, i * rows / chunks, (i + 1) * rows / chunks,
                           &sums[i * size]);
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t kernel_row = 0; kernel_row < 3; ++kernel_row)
    for (int64_t c = 0; c < s.in; c += kChannels) {
      const Vec* from = &sums[3 * (kernel_row * s.in + c) * s.out / kLanes];
      for (int64_t k = 0; k < s.out; k += kOut)
        for (int64_t tap = 0; tap < 3; ++tap)
          for (int64_t t = 0; t < kTile; ++t, ++from) {
            Vec sum = {};
            for (int64_t i = 0; i < chunks; ++i) sum += from[i * size];
            const int64_t row = (kernel_row * 3 + tap) * s.all_in + c;
            std::memcpy(dkernel + (row + t / Vectors) * s.out + k +
                            t % Vectors * kLanes,
                        &sum, sizeof sum);
          }
    }
}

#endif  // __AVX512F__

// Writes dkernel, float32[3, 3, in of all_in, out], and returns true. Returns
// false where the CPU lacks the instructions, or where oneDNN is not known to
// be slower: with AMX it is as fast, and on Intel's CPUs without AMX the two
// have not been compared.
template <typename T>
bool Run(const T* x, const T* dy, const Shape& s, float* dkernel) {
#ifdef __AVX512F__
  if constexpr (has_op<T>) {
    if (!__builtin_cpu_is("amd") || s.in % kTile || s.out % kLanes ||
        s.in * s.out > Op<T>::kMaxWeights)
      return false;
    s.out % (2 * kLanes) ? Sum<Op<T>, 1>(x, dy, s, dkernel)
                         : Sum<Op<T>, 2>(x, dy, s, dkernel);
    return true;
  }
#endif
  return false;
}

}  // namespace kernel_gradient
