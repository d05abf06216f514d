// report LIBRARY TARGET SET: a program that finds the functions by dlsym(3), so nothing shows that it reads messages before
// it does. Of two calls that fail, it reads the message of the first.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) return 3;
    int (*rpmem_remove)(const char *, const char *, int) = (int (*)(const char *, const char *, int))dlsym(library, "rpmem_remove");
    const char *(*rpmem_errormsg)(void) = (const char *(*)(void))dlsym(library, "rpmem_errormsg");
    if (rpmem_remove(argv[2], argv[3], 0) == 0) return 4;
    printf("%s\n", rpmem_errormsg());
    if (rpmem_remove(argv[2], argv[3], 0) == 0) return 5;
    return 0;
}
