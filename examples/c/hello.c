/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello TARGET POOLSET: keeps a greeting in a replica on another machine, in another language each time.
 *
 * The first run creates the replica and writes a greeting to it. Each later run reads the greeting back from the target,
 * shows it, and replaces it by its translation. Nothing is kept on this machine. rpmem-hello does the same in Swift, and
 * both understand each other's greetings.
 */
#include "replica.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POOL_SIZE = 32 << 20 };

/* As it lies in the replica. */
struct greeting {
    uint64_t language;
    char text[120]; /* ends with a zero */
};

static const struct {
    const char *name, *text;
} languages[] = {
    {"English", "Hello world!"},
    {"Spanish", "¡Hola mundo!"},
    {"Polish", "Witaj, świecie!"},
    {"German", "Hallo Welt!"},
    {"Japanese", "こんにちは、世界！"},
};
enum { LANGUAGES = sizeof languages / sizeof languages[0] };

static void greet(struct greeting *greeting, uint64_t language) {
    memset(greeting, 0, sizeof *greeting);
    greeting->language = language % LANGUAGES;
    strncpy(greeting->text, languages[greeting->language].text, sizeof greeting->text - 1);
}

static bool is_greeting(const struct greeting *greeting) {
    return greeting->language < LANGUAGES && greeting->text[0] != 0 &&
        memchr(greeting->text, 0, sizeof greeting->text) != NULL;
}

/* Reads the greeting and translates it, or starts with the first, and writes it to the replica. */
static int say(RPMEMpool *pool, struct greeting *greeting, bool is_new) {
    if (is_new) {
        greet(greeting, 0);
    } else {
        if (rpmem_read(pool, greeting, DATA_OFFSET, sizeof *greeting, 0) != 0) {
            complain("reading the greeting");
            return -1;
        }
        if (!is_greeting(greeting)) {
            fprintf(stderr, "there is no greeting where one should be\n");
            return -1;
        }
        printf("The target has, in %s: %s\n", languages[greeting->language].name, greeting->text);
        greet(greeting, greeting->language + 1);
    }
    if (rpmem_persist(pool, DATA_OFFSET, sizeof *greeting, 0, 0) != 0) {
        complain("replicating the greeting");
        return -1;
    }
    printf("Replicated, in %s: %s\n", languages[greeting->language].name, greeting->text);
    puts("Run it again for a translation.");
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s TARGET POOLSET\n  such as: %s user@target hello.set\n", argv[0], argv[0]);
        return 2;
    }
    char *memory = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), POOL_SIZE);
    if (memory == NULL) {
        perror("aligned_alloc");
        return 1;
    }
    int status = 1;
    bool is_new;
    RPMEMpool *pool = open_or_create(argv[1], argv[2], memory, POOL_SIZE, "HELLO", &is_new);
    if (pool != NULL) {
        if (say(pool, (struct greeting *)(memory + DATA_OFFSET), is_new) == 0) status = 0;
        if (rpmem_close(pool) != 0) {
            complain("closing the replica");
            status = 1;
        }
    }
    free(memory);
    return status;
}
