/* Speaks as much of NVML as the program asks: two GPUs, of which the second has no energy meter.
 * The first holds 6 GiB, 3 of them of the process that asks, and draws 50 W. */
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

static const uint64_t GIB = 1ull << 30;
static char gpus[2];

struct memory {
    unsigned version;
    uint64_t total, reserved, free, used;
};

struct process {
    unsigned pid;
    uint64_t used;
    unsigned gpu_instance, compute_instance;
};

static int is_first(const char *gpu) { return gpu == &gpus[0]; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, char **gpu) {
    if (index > 1) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(char *gpu, char *name, unsigned length) {
    (void)gpu;
    strncpy(name, "Stand-in 9000", length);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(char *gpu, struct memory *memory) {
    memory->total = (is_first(gpu) ? 24 : 8) * GIB;
    memory->used = (is_first(gpu) ? 6 : 1) * GIB;
    memory->free = memory->total - memory->used;
    memory->reserved = 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(char *gpu, unsigned *count, struct process *list) {
    unsigned room = *count;
    *count = is_first(gpu) ? 1 : 0;
    if (room < *count) return INSUFFICIENT_SIZE;
    if (*count) {
        list[0].pid = getpid();
        list[0].used = 3 * GIB;
    }
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(char *gpu, unsigned *count, struct process *list) {
    (void)gpu, (void)list;
    *count = 0;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(char *gpu, unsigned long long *millijoules) {
    struct timespec now;
    if (!is_first(gpu)) return NOT_SUPPORTED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = 50 * (now.tv_sec * 1000ull + now.tv_nsec / 1000000);
    return SUCCESS;
}
