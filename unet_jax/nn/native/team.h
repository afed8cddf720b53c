// Turns for teams of OpenMP's threads. XLA calls handlers from several threads
// at once (for each simulated device, and for independent operations of a
// program), and teams that together have more threads than the machine has
// cores are slow.

#pragma once

#include <omp.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace team {

// Returns how many threads it pays to wake for so many bytes: below 256 KiB,
// one thread has read them before the others are awake.
inline int64_t ThreadsFor(size_t bytes, int64_t threads) {
  return bytes < (1 << 18) ? 1 : threads;
}

// Memory that lasts from call to call, since fresh pages cost time.
class Workspace {
 public:
  char* Reserve(size_t bytes) {
    if (bytes > size_) {
      size_ = (bytes + 4095) / 4096 * 4096;
      data_.reset();
      data_.reset(static_cast<char*>(std::aligned_alloc(4096, size_)));
      if (!data_) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };
  std::unique_ptr<char, Free> data_;
  size_t size_ = 0;
};

// Holds `threads` of the machine's cores, and a workspace, while it lives.
class Turn {
 public:
  // Waits until so many cores are free.
  explicit Turn(int64_t threads) : threads_(threads) {
    Shared& shared = Get();
    std::unique_lock<std::mutex> lock(shared.mutex);
    const int64_t most = std::max<int64_t>(omp_get_num_procs(), threads);
    shared.freed.wait(lock, [&] { return shared.busy + threads <= most; });
    shared.busy += threads;
    if (shared.idle.empty())
      shared.idle.push_back(std::make_unique<Workspace>());
    workspace_ = std::move(shared.idle.back());
    shared.idle.pop_back();
    omp_set_num_threads(threads);  // For teams of this thread.
  }
  ~Turn() {
    Shared& shared = Get();
    {
      std::lock_guard<std::mutex> lock(shared.mutex);
      shared.busy -= threads_;
      shared.idle.push_back(std::move(workspace_));
    }
    shared.freed.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  Workspace& workspace() { return *workspace_; }

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable freed;
    int64_t busy = 0;
    std::vector<std::unique_ptr<Workspace>> idle;
  };
  static Shared& Get() {
    static Shared& shared = *new Shared;  // XLA's threads may outlive statics.
    return shared;
  }
  const int64_t threads_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace team
