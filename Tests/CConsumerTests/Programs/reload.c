// Loads and unloads the library many times, failing a call each time: nothing may pile up.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int lines(const char *path) {
    FILE *file = fopen(path, "r");
    int count = 0;
    for (int c; file && (c = fgetc(file)) != EOF;) count += c == '\n';
    if (file) fclose(file);
    return count;
}

static long resident_pages(void) {
    long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2) return -1;
    fclose(file);
    return resident;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int maps = 0;
    long pages = 0;
    for (int round = 0; round < 1000; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        int (*drain)(void *, unsigned, unsigned) = (int (*)(void *, unsigned, unsigned))dlsym(library, "rpmem_drain");
        const char *(*errormsg)(void) = (const char *(*)(void))dlsym(library, "rpmem_errormsg");
        if (!drain || !errormsg || drain(NULL, 0, 0) != -1 || !strstr(errormsg(), "NULL")) {
            fprintf(stderr, "round %d: rpmem_drain does not fail as it should\n", round);
            return 1;
        }
        if (dlclose(library) != 0) {
            fprintf(stderr, "round %d: %s\n", round, dlerror());
            return 1;
        }
        // The first rounds may still allocate what stays.
        if (round == 10) {
            maps = lines("/proc/self/maps");
            pages = resident_pages();
        }
    }
    int maps_after = lines("/proc/self/maps");
    long pages_after = resident_pages();
    if (maps_after > maps || pages_after > pages + 16) {
        fprintf(stderr, "%d mappings grew to %d, %ld resident pages to %ld\n", maps, maps_after, pages, pages_after);
        return 1;
    }
    return 0;
}
