/* The emptiest callbacks that CPython can call: what any probe on an event pays at least.
 *
 * Built by floor.py with the machine's compiler; it knows nothing of our own module, so that the floor cannot move with it.
 */
#include <Python.h>

static PyObject *nothing(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    (void)self, (void)arguments, (void)count;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"nothing", (PyCFunction)(void (*)(void))nothing, METH_FASTCALL, "Does nothing."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "bench_floor", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_bench_floor(void)
{
    return PyModule_Create(&module);
}
