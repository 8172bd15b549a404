/* Stream.step for arguments that need no conversion. */
#include "native.h"

typedef rnn_status (*step_function)(rnn_stream *);

typedef struct {
  PyObject_HEAD
  step_function function;
  rnn_stream *stream;    /* NULL until _bind_step and after _unbind_step */
  PyArrayObject *input;  /* (N, I), or (N,) tokens: the stream's own memory */
  PyArrayObject *output; /* (N, O), likewise */
} Stepper;

/* How x compares with the stream's input. */
typedef enum { OTHER, WHOLE, ROW } Fit;

/* WHOLE if x has the shape of the input, ROW if it is the only row of the batch, and nothing needs a conversion. */
static Fit fit(const Stepper *self, PyObject *object) {
  if (!PyArray_CheckExact(object)) return OTHER;
  PyArrayObject *x = (PyArrayObject *)object;
  /* NumPy has one object for each of its own types, in the byte order of the machine. */
  if (PyArray_DESCR(x) != PyArray_DESCR(self->input) || !PyArray_ISCARRAY_RO(x)) return OTHER;
  int dimensions = PyArray_NDIM(self->input);
  const npy_intp *shape = PyArray_DIMS(self->input);
  if (PyArray_NDIM(x) == dimensions)
    return memcmp(PyArray_DIMS(x), shape, (size_t)dimensions * sizeof *shape) == 0 ? WHOLE : OTHER;
  if (dimensions == 2 && PyArray_NDIM(x) == 1 && shape[0] == 1 && PyArray_DIM(x, 0) == shape[1]) return ROW;
  return OTHER;
}

/* The step itself. Other Python threads run meanwhile, as with ctypes. */
static rnn_status advance(const Stepper *self) {
  rnn_status status;
  step_function function = self->function;
  rnn_stream *stream = self->stream;
  Py_BEGIN_ALLOW_THREADS
  status = function(stream);
  Py_END_ALLOW_THREADS
  return status;
}

/* A new array with the values of the output; of its only row, if x came as a row. */
static PyObject *copied(PyArrayObject *output, Fit fit) {
  int skipped = fit == ROW;
  PyObject *y = PyArray_SimpleNew(PyArray_NDIM(output) - skipped, PyArray_DIMS(output) + skipped, PyArray_TYPE(output));
  if (y != NULL) memcpy(PyArray_DATA((PyArrayObject *)y), PyArray_DATA(output), (size_t)PyArray_NBYTES(output));
  return y;
}

/* Any other call: Stream._step_any converts, or says what is wrong. */
static PyObject *general(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
  PyObject *y = NULL, *positional = PyTuple_New(count), *named = PyDict_New();
  PyObject *function = PyObject_GetAttrString(object, "_step_any");
  if (positional == NULL || named == NULL || function == NULL) goto done;
  for (Py_ssize_t i = 0; i < count; i++) {
    Py_INCREF(arguments[i]);
    PyTuple_SetItem(positional, i, arguments[i]);
  }
  for (Py_ssize_t i = 0; names != NULL && i < PyTuple_Size(names); i++)
    if (PyDict_SetItem(named, PyTuple_GetItem(names, i), arguments[count + i]) < 0) goto done;
  y = PyObject_Call(function, positional, named);
done:
  Py_XDECREF(function);
  Py_XDECREF(named);
  Py_XDECREF(positional);
  return y;
}

PyDoc_STRVAR(step_doc, /* the text of stream.py; a test compares them */
  "step($self, x=None, tokens=None)\n--\n\n"
  "Advance by one step.\n\n"
  "Parameters\n"
  "----------\n"
  "x : array_like, shape (N, I), or (I,) for one row; tokens (N,), or a number for one row\n"
  "    Copied to `input`. Without it, `input` is read as it is: the fastest way.\n"
  "tokens : array_like of int\n"
  "    For a network that reads both features and tokens.\n\n"
  "Returns\n"
  "-------\n"
  "ndarray, shape (N, O), or (O,) if x came without the batch axis\n"
  "    A copy of `output`; without x `output` itself.\n");

static PyObject *step(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
  Stepper *self = (Stepper *)object;
  PyObject *x = count > 0 ? arguments[0] : Py_None;
  Fit given = OTHER;
  int known = names == NULL && count <= 1 && self->stream != NULL
      && (x == Py_None || (given = fit(self, x)) != OTHER);
  if (!known) return general(object, arguments, count, names);
  if (given != OTHER)
    memcpy(PyArray_DATA(self->input), PyArray_DATA((PyArrayObject *)x), (size_t)PyArray_NBYTES(self->input));
  PyArrayObject *output = self->output; /* held, because another thread may close the stream during the step */
  Py_INCREF((PyObject *)output);
  rnn_status status = advance(self);
  PyObject *y;
  if (status != RNN_OK) {
    y = PyObject_CallMethod(object, "_step_failed", "i", (int)status);
  } else if (given != OTHER) {
    y = copied(output, given);
  } else {
    Py_INCREF((PyObject *)output);
    y = (PyObject *)output;
  }
  Py_DECREF((PyObject *)output);
  return y;
}

static void unbind(Stepper *self) {
  self->stream = NULL;
  PyArrayObject *input = self->input, *output = self->output;
  self->input = self->output = NULL;
  Py_XDECREF((PyObject *)input);
  Py_XDECREF((PyObject *)output);
}

/* _bind_step(function, stream, input, output): two addresses, and the arrays on the stream's memory. */
static PyObject *bind_step(PyObject *object, PyObject *arguments) {
  Stepper *self = (Stepper *)object;
  PyObject *function, *stream;
  PyArrayObject *input, *output;
  if (!PyArg_ParseTuple(arguments, "OOO!O!:_bind_step", &function, &stream, &PyArray_Type, &input, &PyArray_Type, &output))
    return NULL;
  void *function_address = PyLong_AsVoidPtr(function), *stream_address = PyLong_AsVoidPtr(stream);
  if (PyErr_Occurred()) return NULL;
  if (!PyArray_ISCARRAY(input) || !PyArray_ISCARRAY(output)) {
    PyErr_SetString(PyExc_ValueError, "_bind_step: input and output must be contiguous and writable");
    return NULL;
  }
  unbind(self);
  Py_INCREF((PyObject *)input);
  Py_INCREF((PyObject *)output);
  self->input = input;
  self->output = output;
  self->function = (step_function)function_address;
  self->stream = stream_address;
  Py_RETURN_NONE;
}

static PyObject *unbind_step(PyObject *self, PyObject *nothing) {
  (void)nothing;
  unbind((Stepper *)self);
  Py_RETURN_NONE;
}

static void let_go(PyObject *self) { unbind((Stepper *)self); }
static void deallocate(PyObject *self) { free_object(self, let_go); }

static PyMethodDef methods[] = {
  {"step", (PyCFunction)(void (*)(void))step, METH_FASTCALL | METH_KEYWORDS, step_doc},
  {"_bind_step", bind_step, METH_VARARGS, NULL},
  {"_unbind_step", unbind_step, METH_NOARGS, NULL},
  {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
  {Py_tp_methods, methods},
  {Py_tp_dealloc, (void *)deallocate},
  {Py_tp_doc, (void *)"What Stream inherits step from."},
  {0, NULL},
};

PyType_Spec stepper_specification = {
  "librnn._native.Stepper", (int)sizeof(Stepper), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots,
};
