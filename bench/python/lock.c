/* Watches the lock of the interpreter from a thread of its own that never takes it, and so never makes anybody wait for it:
 * when it was held, for how long, and by which thread. The same for whatever debugger is in the process.
 *
 * Built by floor.py's `build` with the machine's compiler. What it reads is CPython's own note of who holds the lock.
 */
#define _GNU_SOURCE
#define Py_BUILD_CORE_MODULE 1
#include <Python.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "internal/pycore_interp.h"

enum { MOST = 1 << 16 };

typedef struct {
    uint64_t from, to;
    void *holder;
} Hold;

static Hold holds[MOST];
static int count;
/* The longest time between two looks: what is shorter may have been missed, or be longer than it was. */
static uint64_t blind;
static struct _gil_runtime_state *lock;
static int core;
static atomic_int going, started;
static pthread_t thread;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *watch(void *nothing)
{
    (void)nothing;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
    void *before = NULL;
    uint64_t last = now();
    atomic_store(&started, 1);
    while (atomic_load_explicit(&going, memory_order_relaxed)) {
        int held = __atomic_load_n((int *)&lock->locked, __ATOMIC_ACQUIRE);
        void *holder = held ? __atomic_load_n((void **)&lock->last_holder, __ATOMIC_RELAXED) : NULL;
        uint64_t time = now();
        blind = time - last > blind ? time - last : blind;
        last = time;
        if (holder == before)
            continue;
        if (before)
            holds[count++].to = time;
        if (count == MOST)
            break;
        if (holder)
            holds[count] = (Hold){.from = time, .holder = holder};
        before = holder;
    }
    if (before && count < MOST)
        holds[count++].to = now();
    return NULL;
}

static PyObject *begin(PyObject *self, PyObject *number)
{
    (void)self;
    core = (int)PyLong_AsLong(number);
    if (PyErr_Occurred())
        return NULL;
    lock = PyInterpreterState_Get()->ceval.gil;
    count = 0;
    blind = 0;
    atomic_store(&started, 0);
    atomic_store(&going, 1);
    if (pthread_create(&thread, NULL, watch, NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "the watching thread could not be started");
        return NULL;
    }
    while (!atomic_load(&started))
        sched_yield();
    Py_RETURN_NONE;
}

/* The holds since `begin`: pairs of the thread's number and nanoseconds; and the longest time between two looks. */
static PyObject *end(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    atomic_store(&going, 0);
    pthread_join(thread, NULL);
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < count; i++) {
        PyObject *one = Py_BuildValue("(KK)", (unsigned long long)(uintptr_t)holds[i].holder,
                                      (unsigned long long)(holds[i].to - holds[i].from));
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list ? Py_BuildValue("(NK)", list, (unsigned long long)blind) : NULL;
}

static PyMethodDef methods[] = {
    {"begin", begin, METH_O, "Begins to watch, from the core with this number."},
    {"end", end, METH_NOARGS, "Ends it, and tells what was seen."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "bench_lock", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_bench_lock(void)
{
    return PyModule_Create(&module);
}
