// Turns for teams of OpenMP threads. XLA calls handlers from several threads at
// once (one for each simulated device, and for independent operations of a
// program). Teams that together have more threads than the machine has cores
// are slow, so a team waits for its turn.

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

// Returns how many threads to use for so many bytes. One thread reads less than
// 256 KiB before the others have woken up.
inline int64_t ThreadsFor(size_t bytes, int64_t threads) {
  return bytes < (1 << 18) ? 1 : threads;
}

// Memory that is kept from call to call, since fresh pages cost time.
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

// Holds `threads` of the machine's cores, and a workspace, during its lifetime.
class Turn {
 public:
  // Waits until enough cores are free.
  explicit Turn(int64_t threads) : threads_(threads) {
    Shared& shared = Get();
    std::unique_lock<std::mutex> lock(shared.mutex);
    const int64_t cores = std::max<int64_t>(omp_get_num_procs(), threads);
    shared.freed.wait(lock, [&] { return shared.busy + threads <= cores; });
    shared.busy += threads;
    if (shared.idle.empty())
      shared.idle.push_back(std::make_unique<Workspace>());
    workspace_ = std::move(shared.idle.back());
    shared.idle.pop_back();
    omp_set_num_threads(threads);  // Sets it for teams that this thread starts.
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
    // Never destroyed, since XLA's threads may outlive static objects.
    static Shared& shared = *new Shared;
    return shared;
  }
  const int64_t threads_;
  std::unique_ptr<Workspace> workspace_;
};

}  // namespace team
