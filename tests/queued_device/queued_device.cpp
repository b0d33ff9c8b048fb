// A device for torch whose operators the host puts into a queue, and a thread runs later.
//
// It uses torch's interface for devices outside its tree, PrivateUse1. The thread computes with the
// CPU's kernels; the host takes the shapes of results from meta tensors. So the host waits only for
// values that are copied to it, for events, and where it is told to.

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Stack = torch::jit::Stack;

const c10::Device kDevice(c10::DeviceType::PrivateUse1, 0);
const c10::Stream kStream(c10::Stream::DEFAULT, kDevice);

// The queue and the thread that runs its tasks in order. Tickets number the tasks from 1.
//
// The first task that throws breaks the device for good: no later task runs, and whoever launches
// or waits is told why.
class Queue {
 public:
  Queue() {
    std::thread([this] { run(); }).detach();
  }

  int64_t add(std::function<void()> task) {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_all();
    return ++added_;
  }

  // Add an operator's work.
  void launch(std::function<void()> work) {
    check();
    add([work = std::move(work), least = std::chrono::nanoseconds(operator_ns)] {
      const auto end = Clock::now() + least;
      work();
      std::this_thread::sleep_until(end);
    });
  }

  bool done(int64_t ticket) {
    std::lock_guard lock(mutex_);
    return done_ >= ticket;
  }

  void wait(int64_t ticket) {
    std::unique_lock lock(mutex_);
    TORCH_CHECK(done_ >= ticket || !held_, "the host waits for a device that is held");
    changed_.wait(lock, [&] { return done_ >= ticket; });
    lock.unlock();
    check();
  }

  void synchronize() {
    std::unique_lock lock(mutex_);
    const int64_t last = added_;
    lock.unlock();
    wait(last);
  }

  int64_t waiting() {
    std::lock_guard lock(mutex_);
    return added_ - done_;
  }

  // While it is held the device begins no task.
  void hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

  std::atomic<int64_t> operator_ns{0};  // what each operator takes at least

 private:
  void check() {
    std::lock_guard lock(mutex_);
    if (!error_.empty()) {
      throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, 1, "the device broke: " + error_);
    }
  }

  void run() {
    at::AutoDispatchBelowAutograd kernels;  // which autograd does not record
    at::set_num_threads(1);  // of this thread: others of its own would take the host's cores
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return !held_ && !tasks_.empty(); });
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      std::string error = error_;
      lock.unlock();
      if (error.empty()) {
        try {
          task();
        } catch (const c10::Error& thrown) {
          error = thrown.what_without_backtrace();
        } catch (const std::exception& thrown) {
          error = thrown.what();
        }
      }
      task = nullptr;
      lock.lock();
      error_ = std::move(error);
      ++done_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  int64_t added_ = 0;
  int64_t done_ = 0;
  bool held_ = false;
  std::string error_;
};

// Never destroyed, because its thread lives as long as the process.
Queue& queue() {
  static Queue* one = new Queue;
  return *one;
}

// Bytes are counted when the host allocates and releases, so the peak is the same in every run.
// What the host releases is freed in the queue, behind the work that still uses it.
class Memory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, kDevice};
    }
    {
      std::lock_guard lock(mutex_);
      allocated_ += bytes;
      peak_ = std::max(peak_, allocated_);
    }
    auto* block = new Block{std::malloc(bytes), bytes};
    return {block->start, block, &release, kDevice};
  }

  void copy_data(void*, const void*, size_t) const override {
    TORCH_CHECK(false, "the host cannot copy the device's memory");
  }

  int64_t allocated() {
    std::lock_guard lock(mutex_);
    return allocated_;
  }

  int64_t peak() {
    std::lock_guard lock(mutex_);
    return peak_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    peak_ = allocated_;
  }

 private:
  struct Block {
    void* start;
    size_t bytes;
  };

  static void release(void* context);

  std::mutex mutex_;
  int64_t allocated_ = 0;
  int64_t peak_ = 0;
};

Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory)

void Memory::release(void* context) {
  auto* block = static_cast<Block*>(context);
  {
    std::lock_guard lock(memory.mutex_);
    memory.allocated_ -= block->bytes;
  }
  queue().add([block] {
    std::free(block->start);
    delete block;
  });
}

struct Event {
  int64_t ticket = 0;
  Clock::time_point time;
};
using EventPtr = std::shared_ptr<Event>;

EventPtr& event_at(void* event) {
  return *static_cast<EventPtr*>(event);
}

// One device with one stream.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device) const override { return kStream; }
  c10::Stream exchangeStream(c10::Stream) const override { return kStream; }
  void synchronizeStream(const c10::Stream&) const override { queue().synchronize(); }
  void synchronizeDevice(c10::DeviceIndex) const override { queue().synchronize(); }

  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    // A new one, because an earlier recording may still be in the queue.
    auto fresh = std::make_shared<Event>();
    fresh->ticket = queue().add([fresh] { fresh->time = Clock::now(); });
    if (*event == nullptr) {
      *event = new EventPtr;
    }
    event_at(*event) = std::move(fresh);
  }

  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
    delete static_cast<EventPtr*>(event);
  }

  bool queryEvent(void* event) const override {
    return event == nullptr || queue().done(event_at(event)->ticket);
  }

  void synchronizeEvent(void* event) const override {
    if (event != nullptr) {
      queue().wait(event_at(event)->ticket);
    }
  }

  double elapsedTime(void* from, void* to, c10::DeviceIndex) const override {
    TORCH_CHECK(from && to, "both events have to be recorded before the time between them");
    TORCH_CHECK(queryEvent(from) && queryEvent(to), "an event has not been reached yet");
    return std::chrono::duration<double, std::milli>(event_at(to)->time - event_at(from)->time)
        .count();
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};
const bool hooked = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

bool is_here(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device() == kDevice;
}

// The same memory as a CPU tensor, for the device's thread alone.
at::Tensor on_cpu(const at::Tensor& tensor) {
  return at::from_blob(
      tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

at::Tensor on_meta(const at::Tensor& tensor) {
  return at::empty_strided(
      tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
}

at::Tensor like(const at::Tensor& shape) {
  return at::empty_strided(shape.sizes(), shape.strides(), shape.options().device(kDevice));
}

// A value of the stack with `map` of each of its tensors.
template <typename Map>
c10::IValue mapped(const c10::IValue& value, const Map& map) {
  if (value.isTensor()) {
    return value.toTensor().defined() ? c10::IValue(map(value.toTensor())) : value;
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> tensors;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      tensors.push_back(map(tensor));
    }
    return tensors;
  }
  return value;
}

template <typename Map>
Stack mapped(const Stack& stack, const Map& map) {
  Stack result;
  for (const c10::IValue& value : stack) {
    result.push_back(mapped(value, map));
  }
  return result;
}

// Any operator that has no kernel of its own below, but views. The shapes of its results must not
// depend on data, and an `out` must have its size already.
void launch(const c10::OperatorHandle& op, Stack* stack) {
  const auto& declared = op.schema().arguments();
  const auto& returned = op.schema().returns();
  const Stack arguments = torch::jit::pop(*stack, declared.size());

  // A result is an argument that is written to, or a new tensor.
  Stack results, shapes;
  for (size_t place = 0; place < returned.size(); ++place) {
    const c10::AliasInfo* alias = returned[place].alias_info();
    if (alias == nullptr) {
      if (shapes.empty()) {
        shapes = mapped(arguments, on_meta);
        op.callBoxed(&shapes);
      }
      results.push_back(mapped(shapes[place], like));
    } else {
      TORCH_CHECK(alias->isWrite(), "this device has no ", op.schema().operator_name());
      const auto written = std::find_if(
          declared.begin(), declared.end(), [&](const c10::Argument& argument) {
            return argument.alias_info() != nullptr && *argument.alias_info() == *alias;
          });
      results.push_back(arguments[written - declared.begin()]);
    }
  }

  Stack launched;
  for (size_t place = 0; place < declared.size(); ++place) {
    // The CPU's kernels may resize an `out`, which a view of other memory does not allow.
    const bool out = declared[place].is_out();
    launched.push_back(mapped(arguments[place], [out](const at::Tensor& tensor) {
      if (out) {
        return at::empty({0}, tensor.options().device(at::kCPU));
      }
      // The host may change its own tensors before the device reads them.
      return is_here(tensor) ? on_cpu(tensor) : tensor.clone();
    }));
  }

  queue().launch([op, launched = std::move(launched), targets = mapped(results, on_cpu)]() mutable {
    op.callBoxed(&launched);
    for (size_t place = 0; place < targets.size(); ++place) {
      targets[place].toTensor().copy_(launched[place].toTensor());
    }
  });
  stack->insert(stack->end(), results.begin(), results.end());
}

at::Tensor empty(
    c10::IntArrayRef size,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool>,
    std::optional<c10::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_generic(size, &memory, keys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size,
    c10::IntArrayRef stride,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_strided_generic(
      size, stride, &memory, keys, c10::dtype_or_default(dtype));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (is_here(to)) {
    const at::Tensor source = is_here(from) ? on_cpu(from) : from.clone();
    queue().launch([source, target = on_cpu(to)] { target.copy_(source); });
  } else {
    queue().launch([source = on_cpu(from), to] { to.copy_(source); });
    queue().synchronize();
  }
  return to;
}

at::Scalar item(const at::Tensor& tensor) {
  return tensor.cpu().item();
}

at::Tensor& set_storage_part(
    at::Tensor& tensor,
    c10::Storage storage,
    int64_t offset,
    c10::IntArrayRef size,
    c10::IntArrayRef stride) {
  auto* parts = tensor.unsafeGetTensorImpl();
  parts->set_storage_keep_dtype(std::move(storage));
  parts->set_storage_offset(offset);
  parts->set_sizes_and_strides(size, stride);
  return tensor;
}

at::Tensor& set_storage(at::Tensor& tensor, c10::Storage storage) {
  const auto length = static_cast<int64_t>(storage.nbytes() / tensor.itemsize());
  return set_storage_part(tensor, std::move(storage), 0, {length}, {1});
}

const at::Tensor& resize(
    const at::Tensor& tensor, c10::IntArrayRef size, std::optional<c10::MemoryFormat>) {
  const size_t bytes = at::detail::computeStorageNbytesContiguous(
      size, tensor.itemsize(), tensor.storage_offset());
  TORCH_CHECK(bytes <= tensor.storage().nbytes(), "a tensor cannot grow on this device");
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return tensor;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&launch>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("resize_", resize);
  library.impl("_copy_from", copy_from);
  library.impl("_local_scalar_dense", item);
  library.impl("set_.source_Storage", set_storage);
  library.impl("set_.source_Storage_storage_offset", set_storage_part);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
}

// What tests control and read.
TORCH_LIBRARY(queued, library) {
  library.def("allocated", [] { return memory.allocated(); });
  library.def("peak", [] { return memory.peak(); });
  library.def("reset_peak", [] { memory.reset_peak(); });
  library.def("waiting", [] { return queue().waiting(); });
  library.def("hold", [](bool held) { queue().hold(held); });
  library.def("set_operator_ns", [](int64_t ns) { queue().operator_ns = ns; });
  library.def("sleep", [](int64_t ns) {
    queue().launch([ns] { std::this_thread::sleep_for(std::chrono::nanoseconds(ns)); });
  });
}

}  // namespace
