/* The calls of librnn for CPython that are worth more than ctypes: a step of a stream, and a run of a model.
 *
 * ctypes takes 0.25 us for a call with one argument and 1 us for one with sixteen; preparing them in Python takes as long again or longer.
 * This module does the same in 0.1 us. It is optional: without it, and for every argument that it does not know, the Python code that
 * uses it goes through ctypes. It knows nothing of librnn but addresses of functions, of handles and of arrays, which Python gives it.
 *
 * Limited API of Python 3.11, so that one file fits every later version.
 */
#define LIBRNN_NATIVE_MODULE
#include "native.h"

static struct PyModuleDef definition = {
  PyModuleDef_HEAD_INIT, "_native", "Calls of librnn without ctypes.", -1, NULL, NULL, NULL, NULL, NULL,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *specification) {
  PyObject *type = PyType_FromSpec(specification);
  int status = type == NULL ? -1 : PyModule_AddObjectRef(module, name, type);
  Py_XDECREF(type);
  return status;
}

PyMODINIT_FUNC PyInit__native(void) {
  import_array();
  PyObject *module = PyModule_Create(&definition);
  if (module == NULL) return NULL;
  if (add_type(module, "Stepper", &stepper_specification) < 0
      || add_type(module, "PlannedRun", &planned_run_specification) < 0) {
    Py_DECREF(module);
    return NULL;
  }
  return module;
}
