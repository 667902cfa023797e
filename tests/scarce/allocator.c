/* Stands between a program and its allocators, and lets chosen allocations fail.
 *
 * Preloaded, it sees the calls of malloc and its kin that come from the modules of the engine; and
 * `scarce_watch` puts it between Python and Python's own allocators, for one thread.
 */
#define _GNU_SOURCE
#include <Python.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NOBODY, ENGINE, PYTHON, KINDS };

static int chosen = NOBODY;
static long passing;            /* allocations that still succeed */
static long failing;            /* and how many fail after them */
static long failed;
static long live[KINDS];        /* blocks allocated and not yet freed */
static pthread_t thread;

static int refuse(int kind)
{
    if (kind != chosen || (kind == PYTHON && !pthread_equal(thread, pthread_self())))
        return 0;
    if (passing > 0) { passing--; return 0; }
    if (failing <= 0) return 0;
    failing--;
    failed++;
    return 1;
}

void scarce_begin(int kind, long count, long in_a_row)
{
    failed = 0;
    passing = count;
    failing = in_a_row;
    chosen = kind;
}

void scarce_end(void) { chosen = NOBODY; }
long scarce_failed(void) { return failed; }
long scarce_live(int kind) { return live[kind]; }

/* -- the engine ------------------------------------------------------------------------------- */

static struct { uintptr_t from, to; } code[64];
static int codes;

static int note_code(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (!strstr(info->dlpi_name, "/engine/"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && codes < 64; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        code[codes].from = info->dlpi_addr + part->p_vaddr;
        code[codes].to = code[codes].from + part->p_memsz;
        codes++;
    }
    return 0;
}

/* Find the engine's modules, all of which must have been loaded; how many there are. */
int scarce_find_engine(void)
{
    codes = 0;
    dl_iterate_phdr(note_code, NULL);
    return codes;
}

static int kind_of(void *caller)
{
    for (int i = 0; i < codes; i++)
        if (code[i].from <= (uintptr_t)caller && (uintptr_t)caller < code[i].to)
            return ENGINE;
    return NOBODY;
}

/* What dlsym itself asks for while the real functions are looked up; never given back. */
static char early[1 << 14] __attribute__((aligned(16)));
static size_t early_used;
static void *kept[64];
static int kept_count;
static volatile int looking;   /* the compiler takes it that dlsym never calls back */

static void *look_up(const char *name)
{
    looking++;
    void *found = dlsym(RTLD_NEXT, name);
    looking--;
    return found;
}

#define ALLOCATES(name, types, is_new, ...) \
    void *name types \
    { \
        static void *(*real) types; \
        int kind = kind_of(__builtin_return_address(0)); \
        if (!real && looking) { \
            void *block = early + early_used; \
            early_used += (size + 15) & ~(size_t)15; \
            return early_used <= sizeof early ? block : NULL; \
        } \
        if (!real) *(void **)&real = look_up(#name); \
        /* A jump: what comes after must know its caller, as the leak check leaves ld.so out. */ \
        if (!kind) return real(__VA_ARGS__); \
        if (refuse(kind)) return NULL; \
        void *block = real(__VA_ARGS__); \
        if (block && (is_new)) live[kind]++; \
        return block; \
    }

ALLOCATES(malloc, (size_t size), 1, size)
ALLOCATES(calloc, (size_t count, size_t size), 1, count, size)
ALLOCATES(realloc, (void *old, size_t size), old == NULL, old, size)
ALLOCATES(aligned_alloc, (size_t alignment, size_t size), 1, alignment, size)

void free(void *block)
{
    static void (*real)(void *);
    if ((char *)block >= early && (char *)block < early + sizeof early)
        return;
    if (!real && looking) {     /* it is known too late to give these few back */
        if (kept_count < 64) kept[kept_count++] = block;
        return;
    }
    if (!real) *(void **)&real = look_up("free");
    int kind = kind_of(__builtin_return_address(0));
    if (kind && block) live[kind]--;
    real(block);
}

/* -- Python ----------------------------------------------------------------------------------- */

static PyMemAllocatorEx beneath[3];

static void *python_malloc(void *context, size_t size)
{
    PyMemAllocatorEx *real = context;
    if (refuse(PYTHON)) return NULL;
    void *block = real->malloc(real->ctx, size);
    live[PYTHON] += block != NULL;
    return block;
}

static void *python_calloc(void *context, size_t count, size_t size)
{
    PyMemAllocatorEx *real = context;
    if (refuse(PYTHON)) return NULL;
    void *block = real->calloc(real->ctx, count, size);
    live[PYTHON] += block != NULL;
    return block;
}

static void *python_realloc(void *context, void *old, size_t size)
{
    PyMemAllocatorEx *real = context;
    if (refuse(PYTHON)) return NULL;
    void *block = real->realloc(real->ctx, old, size);
    live[PYTHON] += block != NULL && old == NULL;
    return block;
}

static void python_free(void *context, void *block)
{
    PyMemAllocatorEx *real = context;
    int was_live = block != NULL;
    real->free(real->ctx, block);
    live[PYTHON] -= was_live;   /* afterwards: no jump, so that `free` sees it called from here */
}

/* Stand between Python and its allocators from now on, for the calling thread. */
void scarce_watch(void)
{
    static const PyMemAllocatorDomain domains[3] = {
        PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ,
    };
    thread = pthread_self();
    for (int i = 0; i < 3; i++) {
        PyMemAllocatorEx hook = {
            &beneath[i], python_malloc, python_calloc, python_realloc, python_free,
        };
        PyMem_GetAllocator(domains[i], &beneath[i]);
        PyMem_SetAllocator(domains[i], &hook);
    }
}
