/* What the files of this module share. See module.c. */
#ifndef LIBRNN_NATIVE_H
#define LIBRNN_NATIVE_H

#include <rnn.h>   /* first: Python.h brings complex.h, whose I is a macro */
#include <stdio.h> /* for NumPy: Python.h leaves it out in the limited API */
#include <string.h>

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL librnn_native_array_api
#ifndef LIBRNN_NATIVE_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

extern PyType_Spec stepper_specification; /* step.c */
extern PyType_Spec planned_run_specification; /* run.c */

/* tp_dealloc of both: lets go what an object holds, then the object. */
static inline void free_object(PyObject *self, void (*let_go)(PyObject *)) {
  PyTypeObject *type = Py_TYPE(self);
  let_go(self);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

#endif
