// A libcuda.so.1 for tests: the entry points that cudarc's launch path calls, with the same .cu files run on the CPU.
//
//     g++ -std=c++17 -O1 -march=native -ffp-contract=off -shared -fPIC -Wl,-soname,libcuda.so.1 emudrv.cpp -o libcuda.so.1 -pthread
//
// With its folder in LD_LIBRARY_PATH the real host code runs: argument packing, shared-memory sizes, capture and replay of
// graphs. Streams are synchronous. Work, and memory and graphs given back, are refused of a thread whose current context is
// another than the device's; so are questions about a kernel of a thread that records. What a test may set in the
// environment, read at the call that it is about:
//     EMU_MEMORY    bytes of device memory; what is beyond gives CUDA_ERROR_OUT_OF_MEMORY
//     EMU_DEVICES   devices that are counted (1)
//     EMU_VERSION   version of the driver (12010)
//     EMU_MAJOR     first number of the compute capability (9)
//     EMU_MULTIPROCESSORS   how many there are (132)
//     EMU_BLOCKS    blocks of a kernel that each of them runs at the same time, as the occupancy is asked for (1)
//     EMU_LACKS     number of a device attribute that is 0: 95 cooperative launches, 115 memory pools
//     EMU_SILENT    number of a device attribute that the driver does not say: CUDA_ERROR_NOT_INITIALIZED
//     EMU_SLICE     a slice of a device that has no room for a cluster: CUDA_ERROR_INVALID_CLUSTER_SIZE
//     EMU_SHARED    bytes of shared memory that a block can have (232448)
//     EMU_ORDER     0, 1, 2: threads run forward, in reverse, at random
//     EMU_FAIL      the device fails at so many more kernels, for good: CUDA_ERROR_LAUNCH_FAILED
//     EMU_APART     blocks of a cooperative launch run one after the other, as on no device that accepts it
//     EMU_TRACE     a file that gets the name of every kernel as it runs
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "kernels.h"

namespace {

enum Code {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    TOO_LARGE = 720,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    INVALID_CLUSTER_SIZE = 912,
};

enum { MULTIPROCESSORS = 16, COMPUTE_MAJOR = 75, COOPERATIVE = 95, SHARED_OPTIN = 97, MEMORY_POOLS = 115, CLUSTERS = 120 };
enum { SHARED_DEFAULT = 48 << 10 };
enum { FUNCTION_MAX_DYNAMIC_SHARED = 8 };
enum { ATTRIBUTE_COOPERATIVE = 2, ATTRIBUTE_CLUSTER = 4 };

typedef std::function<void()> Operation;

struct Graph {
    std::vector<Operation> operations;
};

struct Stream {
    bool capturing = false;
    Graph graph;
};

struct Kernel {
    const char* name;
    Operation (*bind)(void**);
    int max_shared = SHARED_DEFAULT;
};

// CUlaunchConfig and its attributes.
struct Attribute {
    int id;
    char pad[4];
    unsigned value[16];
};

struct Launch {
    unsigned grid[3], block[3], shared;
    Stream* stream;
    Attribute* attributes;
    unsigned count;
};

struct Module {
    std::string text;
};

void* const PRIMARY = reinterpret_cast<void*>(8);  // the device's context
thread_local void* current = nullptr;
thread_local int recording = 0;  // streams

std::mutex lock;
std::map<void*, size_t> allocations;
size_t allocated = 0;

size_t setting(const char* name, size_t otherwise) {
    const char* const text = getenv(name);
    return text ? strtoull(text, nullptr, 10) : otherwise;
}

size_t multiprocessors() { return setting("EMU_MULTIPROCESSORS", 132); }
int most_shared() { return setting("EMU_SHARED", 232448); }  // an H100's
size_t at_once() { return setting("EMU_BLOCKS", 1) * multiprocessors(); }

size_t attribute_of(size_t which) {
    if (which == setting("EMU_LACKS", 0)) return 0;
    switch (which) {
        case MULTIPROCESSORS: return multiprocessors();
        case COMPUTE_MAJOR: return setting("EMU_MAJOR", 9);
        case SHARED_OPTIN: return most_shared();
        case COOPERATIVE:
        case MEMORY_POOLS: return 1;
        case CLUSTERS: return setting("EMU_MAJOR", 9) >= 9;
        default: return 0;
    }
}

#define K(name) {#name, {#name, [](void** arguments) { return emu::unpack(name, arguments); }}},
std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> table = {
#include "kernels.inc"
    };
    return table;
}
#undef K

// Kernels that have run since EMU_FAIL was there.
size_t runs = 0;
bool failed() { return runs > setting("EMU_FAIL", SIZE_MAX); }

int run(Stream* stream, Operation operation) {
    if (current != PRIMARY) return INVALID_CONTEXT;
    if (stream && stream->capturing)
        stream->graph.operations.push_back(std::move(operation));
    else if (!failed())
        operation();
    return failed() ? LAUNCH_FAILED : SUCCESS;
}

void trace(const char* name) {
    const char* const path = getenv("EMU_TRACE");
    FILE* const file = path ? fopen(path, "a") : nullptr;
    if (!file) return;
    fprintf(file, "%s\n", name);
    fclose(file);
}

// together: blocks that run at the same time.
int start(Kernel* kernel, dim3 grid, dim3 block, unsigned shared, Stream* stream, void** arguments, unsigned together = 1) {
    const unsigned threads = block.x * block.y * block.z;
    const bool fits = threads >= 1 && threads <= 1024 && grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.y <= 65535 && grid.z <= 65535;
    if (together > 1 && (grid.x % together || together > at_once())) return TOO_LARGE;
    if (!kernel || !fits || static_cast<int>(shared) > kernel->max_shared) return INVALID_VALUE;
    const Operation body = kernel->bind(arguments);
    return run(stream, [=] {
        runs += getenv("EMU_FAIL") != nullptr;
        if (failed()) return;
        trace(kernel->name);
        emu::order = setting("EMU_ORDER", emu::FORWARD);
        if (together == grid.x && getenv("EMU_APART"))
            emu::launch_apart(grid, block, shared, body);
        else if (together > 1)
            emu::launch_together(grid, block, shared, together, body);
        else
            emu::launch(grid, block, shared, body);
    });
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return setting("EMU_DEVICES", 1) ? SUCCESS : NO_DEVICE; }
int cuDriverGetVersion(int* version) { return *version = setting("EMU_VERSION", 12010), SUCCESS; }
int cuDeviceGetCount(int* count) { return *count = setting("EMU_DEVICES", 1), SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= setting("EMU_DEVICES", 1)) return INVALID_DEVICE;
    return *device = ordinal, SUCCESS;
}
int cuDeviceGetName(char* name, int size, int) { return snprintf(name, size, "CPU emulation"), SUCCESS; }
int cuDeviceGetUuid_v2(char* uuid, int) { return memset(uuid, 0, 16), SUCCESS; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = setting("EMU_MEMORY", size_t(1) << 33), SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    if (attribute == static_cast<int>(setting("EMU_SILENT", 0))) return NOT_INITIALIZED;
    return *value = attribute_of(attribute), SUCCESS;
}

int cuDevicePrimaryCtxRetain(void** context, int) { return *context = PRIMARY, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void* context) { return current = context, SUCCESS; }
int cuCtxGetCurrent(void** context) { return *context = current, SUCCESS; }
int cuCtxSynchronize() { return SUCCESS; }

int cuStreamCreate(Stream** stream, unsigned) { return *stream = new Stream, SUCCESS; }
int cuStreamDestroy_v2(Stream* stream) { return delete stream, SUCCESS; }
int cuStreamSynchronize(Stream* stream) {
    if (stream && stream->capturing) return CAPTURE_UNSUPPORTED;
    return failed() ? LAUNCH_FAILED : SUCCESS;
}
int cuStreamQuery(Stream* stream) { return cuStreamSynchronize(stream); }
int cuStreamWaitEvent(Stream*, void*, unsigned) { return SUCCESS; }
int cuStreamBeginCapture_v2(Stream* stream, int) {
    if (!stream || stream->capturing) return CAPTURE_UNSUPPORTED;  // the default stream cannot be captured
    stream->capturing = true;
    ++recording;
    return SUCCESS;
}
int cuStreamIsCapturing(Stream* stream, int* status) { return *status = stream && stream->capturing, SUCCESS; }
int cuStreamGetCaptureInfo_v2(Stream* stream, int* status, void*, void*, void*, void*) {
    return cuStreamIsCapturing(stream, status);
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
    if (!stream || !stream->capturing) return INVALID_VALUE;
    stream->capturing = false;
    --recording;
    *graph = new Graph(std::move(stream->graph));
    stream->graph = Graph();
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(Graph** instance, Graph* graph, unsigned long long) { return *instance = new Graph(*graph), SUCCESS; }
int cuGraphUpload(Graph*, Stream*) { return SUCCESS; }
int cuGraphLaunch(Graph* graph, Stream* stream) {
    for (const Operation& operation : graph->operations) run(stream, operation);
    return failed() ? LAUNCH_FAILED : SUCCESS;
}
int cuGraphDestroy(Graph* graph) {
    if (current != PRIMARY) return INVALID_CONTEXT;
    return delete graph, SUCCESS;
}
int cuGraphExecDestroy(Graph* graph) { return cuGraphDestroy(graph); }

int cuModuleLoadData(Module** module, const void* image) {
    const char* const text = static_cast<const char*>(image);
    if (current != PRIMARY) return INVALID_CONTEXT;
    if (!strstr(text, ".entry")) return INVALID_IMAGE;
    return *module = new Module{text}, SUCCESS;
}
int cuModuleLoadDataEx(Module** module, const void* image, unsigned, void*, void*) { return cuModuleLoadData(module, image); }
int cuModuleUnload(Module* module) { return delete module, SUCCESS; }
// Found only where the PTX at hand has it: a kernel asked of the wrong file is an error, as on a device.
int cuModuleGetFunction(Kernel** kernel, Module* module, const char* name) {
    const auto found = kernels().find(name);
    const bool there = module->text.find(".entry " + std::string(name) + "(") != std::string::npos;
    if (found == kernels().end() || !there) return NOT_FOUND;
    return *kernel = &found->second, SUCCESS;
}
int cuFuncSetAttribute(Kernel* kernel, int attribute, int value) {
    if (attribute != FUNCTION_MAX_DYNAMIC_SHARED) return SUCCESS;
    if (value > most_shared()) return INVALID_VALUE;
    return kernel->max_shared = value, SUCCESS;
}
int cuFuncGetAttribute(int* value, int, Kernel*) { return *value = 0, SUCCESS; }

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
    if (recording) return CAPTURE_UNSUPPORTED;
    return *blocks = setting("EMU_BLOCKS", 1), SUCCESS;
}
int cuOccupancyMaxActiveClusters(int* clusters, Kernel*, const Launch* launch) {
    if (recording) return CAPTURE_UNSUPPORTED;
    if (!launch->stream) return INVALID_VALUE;
    if (getenv("EMU_SLICE")) return INVALID_CLUSTER_SIZE;
    return *clusters = at_once() / launch->attributes->value[0], SUCCESS;
}

int cuMemAlloc_v2(void** pointer, size_t bytes) {
    if (current != PRIMARY) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    const std::lock_guard<std::mutex> guard(lock);
    if (bytes > setting("EMU_MEMORY", size_t(1) << 33) - std::min(allocated, setting("EMU_MEMORY", size_t(1) << 33))) return OUT_OF_MEMORY;
    *pointer = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!*pointer) return OUT_OF_MEMORY;
    memset(*pointer, 0xFF, bytes);  // garbage, as on the device: floats that are none
    allocations[*pointer] = bytes;
    allocated += bytes;
    return SUCCESS;
}
int cuMemFree_v2(void* pointer) {
    if (current != PRIMARY) return INVALID_CONTEXT;
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = allocations.find(pointer);
    if (found == allocations.end()) return INVALID_VALUE;
    allocated -= found->second;
    allocations.erase(found);
    free(pointer);
    return SUCCESS;
}
int cuMemAllocAsync(void** pointer, size_t bytes, Stream*) {
    if (recording) return CAPTURE_UNSUPPORTED;
    if (!attribute_of(MEMORY_POOLS)) return NOT_SUPPORTED;
    return cuMemAlloc_v2(pointer, bytes);
}
int cuMemFreeAsync(void* pointer, Stream*) { return cuMemFree_v2(pointer); }
int cuMemGetInfo_v2(size_t* unused, size_t* total) {
    *total = setting("EMU_MEMORY", size_t(1) << 33);
    return *unused = *total - std::min(allocated, *total), SUCCESS;
}
int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) { return (*pointer = malloc(bytes)) ? SUCCESS : OUT_OF_MEMORY; }
int cuMemFreeHost(void* pointer) { return free(pointer), SUCCESS; }
int cuMemsetD8Async(void* to, unsigned char value, size_t bytes, Stream* stream) {
    return run(stream, [=] { memset(to, value, bytes); });
}
int cuMemsetD32Async(unsigned* to, unsigned value, size_t count, Stream* stream) {
    return run(stream, [=] { std::fill(to, to + count, value); });
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    return run(stream, [=] { memcpy(to, from, bytes); });
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    return run(stream, [=] { memcpy(to, from, bytes); });
}
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    return run(stream, [=] { memmove(to, from, bytes); });
}
int cuMemcpyHtoD_v2(void* to, const void* from, size_t bytes) { return memcpy(to, from, bytes), SUCCESS; }
int cuMemcpyDtoH_v2(void* to, const void* from, size_t bytes) { return memcpy(to, from, bytes), SUCCESS; }

int cuEventCreate(void** event, unsigned) { return *event = reinterpret_cast<void*>(24), SUCCESS; }
int cuEventRecord(void*, Stream*) { return SUCCESS; }
int cuEventQuery(void*) { return SUCCESS; }
int cuEventSynchronize(void*) { return SUCCESS; }
int cuEventDestroy_v2(void*) { return SUCCESS; }
int cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 0, SUCCESS; }
int cuGetErrorName(int, const char** text) { return *text = "EMU_ERROR", SUCCESS; }
int cuGetErrorString(int, const char** text) { return *text = "error of the emulated driver", SUCCESS; }

int cuLaunchKernel(Kernel* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   Stream* stream, void** arguments, void**) {
    return start(kernel, dim3(gx, gy, gz), dim3(bx, by, bz), shared, stream, arguments);
}
int cuLaunchKernelEx(const Launch* launch, Kernel* kernel, void** arguments, void**) {
    unsigned together = 1;
    for (const Attribute* a = launch->attributes; a < launch->attributes + launch->count; ++a) {
        if (a->id == ATTRIBUTE_CLUSTER) {
            if (getenv("EMU_SLICE")) return INVALID_CLUSTER_SIZE;
            together = a->value[0];
        }
        if (a->id != ATTRIBUTE_COOPERATIVE || !a->value[0]) continue;
        if (!attribute_of(COOPERATIVE)) return NOT_SUPPORTED;
        together = launch->grid[0];
    }
    const dim3 grid(launch->grid[0], launch->grid[1], launch->grid[2]), block(launch->block[0], launch->block[1], launch->block[2]);
    return start(kernel, grid, block, launch->shared, launch->stream, arguments, together);
}
}
