/* The face of the region tree's compiled parts to Python.

   Arrays come as contiguous buffers and results go out as bytes, so that nothing but Python's
   stable interface is needed. All functions release the GIL. `merging.py` says what they compute,
   and alone calls them. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "native.h"

#include <stdlib.h>

/* Whether a buffer holds so many items; if not, a ValueError is set. */
static int holds(const Py_buffer *buffer, const char *name, Py_ssize_t count, Py_ssize_t size)
{
    if (buffer->len == count * size)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s has %zd bytes, not %zd", name, buffer->len, count * size);
    return 0;
}

/* Whether rows and columns make an image whose pixels 32 bits can number; else sets an error. */
static int countable(Py_ssize_t rows, Py_ssize_t columns)
{
    if (rows > 0 && columns > 0 && rows <= INT32_MAX / 4 / columns)
        return 1;
    PyErr_Format(PyExc_ValueError, "an image of %zd x %zd pixels cannot be segmented", rows,
                 columns);
    return 0;
}

static PyObject *py_flood(PyObject *self, PyObject *args)
{
    Py_buffer relief, basins, wanted;
    Py_ssize_t rows, columns;
    PyObject *result = NULL;
    int enough = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*w*y*nn", &relief, &basins, &wanted, &rows, &columns))
        return NULL;
    if (countable(rows, columns) && holds(&relief, "relief", rows * columns, sizeof(float))
        && holds(&basins, "basins", rows * columns, sizeof(int32_t))
        && holds(&wanted, "wanted", rows * columns, 1)) {
        Py_BEGIN_ALLOW_THREADS
        enough = flood_basins(relief.buf, basins.buf, wanted.buf, (size_t)rows, (size_t)columns);
        Py_END_ALLOW_THREADS
        result = enough ? Py_NewRef(Py_None) : PyErr_NoMemory();
    }
    PyBuffer_Release(&relief);
    PyBuffer_Release(&basins);
    PyBuffer_Release(&wanted);
    return result;
}

/* Whether the labels are 0 to leaves - 1, each at least once; if not, an error is set. */
static int complete(const int32_t *labels, Py_ssize_t pixels, int leaves)
{
    char *seen = leaves > 0 ? calloc((size_t)leaves, 1) : NULL;
    Py_ssize_t distinct = 0, pixel = 0;
    if (leaves > 0 && !seen)
        return PyErr_NoMemory() != NULL;
    for (; pixel < pixels && labels[pixel] >= 0 && labels[pixel] < leaves; pixel++) {
        distinct += !seen[labels[pixel]];
        seen[labels[pixel]] = 1;
    }
    free(seen);
    if (pixel == pixels && distinct == leaves)
        return 1;
    PyErr_Format(PyExc_ValueError, "labels are not 0 to %d, each at least once", leaves - 1);
    return 0;
}

static PyObject *bytes(const void *items, size_t count, size_t size)
{
    return PyBytes_FromStringAndSize(items, (Py_ssize_t)(count * size));
}

static PyObject *results(const Tree *tree, const Touching *touching)
{
    size_t nodes = (size_t)tree->count;
    return Py_BuildValue("(NNNNNNNNN)", bytes(tree->parent, nodes, sizeof *tree->parent),
                         bytes(tree->first, nodes, sizeof *tree->first),
                         bytes(tree->last, nodes, sizeof *tree->last),
                         bytes(tree->area, nodes, sizeof *tree->area),
                         bytes(tree->cost, nodes, sizeof *tree->cost),
                         bytes(tree->box, nodes, sizeof *tree->box),
                         bytes(tree->outline, nodes, sizeof *tree->outline),
                         bytes(touching->leaves, touching->count, sizeof *touching->leaves),
                         bytes(touching->contrast, touching->count, sizeof *touching->contrast));
}

static PyObject *py_grow(PyObject *self, PyObject *args)
{
    Py_buffer labels, channels, gradient;
    Py_ssize_t rows, columns;
    int leaves, apart, enough = 0;
    double weight;
    PyObject *result = NULL;
    Tree tree = {0};
    Touching touching = {0};
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*nniid", &labels, &channels, &gradient, &rows, &columns,
                          &leaves, &apart, &weight))
        return NULL;
    if (countable(rows, columns) && holds(&labels, "labels", rows * columns, sizeof(int32_t))
        && holds(&channels, "channels", rows * columns, CHANNELS * sizeof(float))
        && holds(&gradient, "gradient", rows * columns, sizeof(float))
        && complete(labels.buf, rows * columns, leaves)) {
        tree.leaves = leaves;
        Py_BEGIN_ALLOW_THREADS
        enough = grow(&tree, &touching, labels.buf, channels.buf, gradient.buf, (size_t)rows,
                      (size_t)columns, apart, weight);
        Py_END_ALLOW_THREADS
        result = enough ? results(&tree, &touching) : PyErr_NoMemory();
        free_tree(&tree, &touching);
    }
    PyBuffer_Release(&labels);
    PyBuffer_Release(&channels);
    PyBuffer_Release(&gradient);
    return result;
}

static PyMethodDef functions[] = {
    {"flood", py_flood, METH_VARARGS, "flood(relief, basins, wanted, rows, columns)"},
    {"grow", py_grow, METH_VARARGS,
     "grow(labels, channels, gradient, rows, columns, leaves, apart, weight)"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
