// unload LIBRARY TARGET SET: loads the library, has a session, unloads it again, and forks: nothing of the library is in
// the way, and its next session works as well.
#include <dlfcn.h>
#include <librpmem.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTION(name) __typeof__(name) *p_##name = (__typeof__(name) *)dlsym(library, #name)

static int session(const char *path, const char *target, const char *set, int creates) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return 1;
    FUNCTION(rpmem_create);
    FUNCTION(rpmem_open);
    FUNCTION(rpmem_close);
    FUNCTION(rpmem_errormsg);
    const size_t size = 4 << 20;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    unsigned lanes = 1;
    struct rpmem_pool_attr attributes = {.signature = "UNLOAD", .major = 1};
    RPMEMpool *pool = creates ? p_rpmem_create(target, set, memory, size, &lanes, &attributes)
                              : p_rpmem_open(target, set, memory, size, &lanes, NULL);
    if (!pool || p_rpmem_close(pool) != 0) {
        fprintf(stderr, "%s\n", p_rpmem_errormsg());
        return 1;
    }
    munmap(memory, size);
    return dlclose(library);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    for (int round = 0; round < 3; round++) {
        if (session(argv[1], argv[2], argv[3], round == 0) != 0) return 3;
        pid_t child = fork();
        if (child == 0) _exit(session(argv[1], argv[2], argv[3], 0) == 0 ? 7 : 1);
        int status = -1;
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) return 4;
    }
    return 0;
}
