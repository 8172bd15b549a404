/* rnn_network_run_arrays for a model, a number of steps and a number of rows. */
#include "native.h"

/* float and double differ in nothing that is passed. */
typedef rnn_status (*run_function)(
    rnn_network *, size_t, size_t, const void *, size_t, const int64_t *, size_t, const int64_t *, size_t, const void *, size_t, void *,
    size_t, void *, size_t, const rnn_run_options *);

/* Dimensions of an array that a run makes. */
typedef struct {
  int rank; /* -1: there is none */
  npy_intp dimensions[4];
  size_t count;
} Shape;

typedef struct {
  PyObject_HEAD
  run_function function;
  rnn_network *network;
  size_t steps, rows, count; /* count: elements of x */
  int reads_tokens;
  int type; /* NumPy's number for float or double */
  Shape output, state;
  const rnn_run_options *options;
  PyObject *kept; /* what `options` lies in */
} PlannedRun;

static PyObject *new_array(const Shape *shape, int type) { return PyArray_SimpleNew(shape->rank, (npy_intp *)shape->dimensions, type); }

/* Whether an array is memory that the library can read `count` elements of a type from. */
static int is_readable(PyObject *object, int type, size_t count) {
  if (!PyArray_Check(object)) return 0;
  PyArrayObject *array = (PyArrayObject *)object;
  return PyArray_TYPE(array) == type && PyArray_ISCARRAY_RO(array) && (size_t)PyArray_SIZE(array) == count;
}

/* run(x, initial): (y, state), or the status of a run that failed, or None where an array is not what was planned for. `initial` is None, or
 * an array that becomes the state. */
static PyObject *run(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
  PlannedRun *self = (PlannedRun *)object;
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "run takes x and the initial state");
    return NULL;
  }
  PyObject *x = arguments[0], *initial = arguments[1];
  int begins = initial != Py_None;
  if (!is_readable(x, self->reads_tokens ? NPY_INT64 : self->type, self->count)
      || (begins && (self->state.rank < 0 || !is_readable(initial, self->type, self->state.count)
                     || !PyArray_ISWRITEABLE((PyArrayObject *)initial))))
    Py_RETURN_NONE;
  PyObject *y = new_array(&self->output, self->type);
  if (y == NULL) return NULL;
  PyObject *state = initial;
  if (begins || self->state.rank < 0) {
    Py_INCREF(state);
  } else {
    state = new_array(&self->state, self->type);
    if (state == NULL) {
      Py_DECREF(y);
      return NULL;
    }
  }
  const void *input = PyArray_DATA((PyArrayObject *)x);
  void *values = self->state.rank < 0 ? NULL : PyArray_DATA((PyArrayObject *)state), *output = PyArray_DATA((PyArrayObject *)y);
  size_t states = self->state.rank < 0 ? 0 : self->state.count;
  rnn_status status;
  Py_BEGIN_ALLOW_THREADS
  status = self->function(
      self->network, self->steps, self->rows, self->reads_tokens ? NULL : input, self->reads_tokens ? 0 : self->count,
      self->reads_tokens ? input : NULL, self->reads_tokens ? self->count : 0, NULL, 0, begins ? values : NULL, begins ? states : 0, output,
      self->output.count, values, states, self->options);
  Py_END_ALLOW_THREADS
  PyObject *result = status == RNN_OK ? PyTuple_Pack(2, y, state) : PyLong_FromLong(status);
  Py_DECREF(y);
  Py_DECREF(state);
  return result;
}

/* A tuple of lengths, or None. */
static int read_shape(PyObject *object, Shape *shape) {
  shape->rank = -1;
  if (object == Py_None) return 0;
  Py_ssize_t rank = PyTuple_Size(object);
  if (rank < 0) return -1;
  if (rank > 4) {
    PyErr_SetString(PyExc_ValueError, "PlannedRun: more than four axes");
    return -1;
  }
  shape->count = 1;
  for (Py_ssize_t i = 0; i < rank; i++) {
    shape->dimensions[i] = PyLong_AsSsize_t(PyTuple_GetItem(object, i));
    if (shape->dimensions[i] < 0) {
      if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "PlannedRun: an axis below 0");
      return -1;
    }
    shape->count *= (size_t)shape->dimensions[i];
  }
  shape->rank = (int)rank;
  return 0;
}

/* PlannedRun(function, network, steps, rows, count, reads_tokens, is_double, output_shape, state_shape, options, kept): addresses of
 * rnn_network_run_arrays, of a handle and of options that lie in `kept`; state_shape is None for a network without states. */
static PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *names) {
  if (names != NULL && PyDict_Size(names) > 0) {
    PyErr_SetString(PyExc_TypeError, "PlannedRun takes no keywords");
    return NULL;
  }
  PyObject *function, *network, *output, *state, *options, *kept;
  Py_ssize_t steps, rows, count;
  int reads_tokens, is_double;
  if (!PyArg_ParseTuple(arguments, "OOnnnppOOOO:PlannedRun", &function, &network, &steps, &rows, &count, &reads_tokens, &is_double,
                        &output, &state, &options, &kept))
    return NULL;
  Shape output_shape, state_shape;
  if (read_shape(output, &output_shape) < 0 || read_shape(state, &state_shape) < 0) return NULL;
  void *addresses[3] = {PyLong_AsVoidPtr(function), PyLong_AsVoidPtr(network), PyLong_AsVoidPtr(options)};
  if (PyErr_Occurred()) return NULL;
  if (output_shape.rank < 0) {
    PyErr_SetString(PyExc_ValueError, "PlannedRun: every network has an output");
    return NULL;
  }
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  PlannedRun *self = (PlannedRun *)allocate(type, 0);
  if (self == NULL) return NULL;
  self->function = (run_function)addresses[0];
  self->network = addresses[1];
  self->options = addresses[2];
  self->steps = (size_t)steps;
  self->rows = (size_t)rows;
  self->count = (size_t)count;
  self->reads_tokens = reads_tokens;
  self->type = is_double ? NPY_DOUBLE : NPY_FLOAT;
  self->output = output_shape;
  self->state = state_shape;
  Py_INCREF(kept);
  self->kept = kept;
  return (PyObject *)self;
}

static void let_go(PyObject *self) { Py_CLEAR(((PlannedRun *)self)->kept); }
static void deallocate(PyObject *self) { free_object(self, let_go); }

static PyMethodDef methods[] = {
  {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, NULL},
  {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
  {Py_tp_new, (void *)make},
  {Py_tp_methods, methods},
  {Py_tp_dealloc, (void *)deallocate},
  {Py_tp_doc, (void *)"A run of one model over so many steps and rows."},
  {0, NULL},
};

PyType_Spec planned_run_specification = {
  "librnn._native.PlannedRun", (int)sizeof(PlannedRun), 0, Py_TPFLAGS_DEFAULT, slots,
};
