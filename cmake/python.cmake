# The Python package's extension module, bindings/python/native: calls without ctypes. Built where Python's and NumPy's headers
# are; the package works without it. It lies beside librnn.so, where the package looks for it.

# build/venv is made by scripts/install-dependencies. A Python that the caller chose comes first.
if(NOT Python3_ROOT_DIR AND NOT Python3_EXECUTABLE AND EXISTS ${CMAKE_SOURCE_DIR}/build/venv/bin/python)
  set(Python3_ROOT_DIR ${CMAKE_SOURCE_DIR}/build/venv)
endif()
set(Python3_FIND_STRATEGY LOCATION)
find_package(Python3 3.11 QUIET COMPONENTS Interpreter Development.Module NumPy)

add_custom_target(python-native)
if(Python3_Development.Module_FOUND AND Python3_NumPy_FOUND)
  add_library(python-native-module MODULE
    bindings/python/native/module.c bindings/python/native/run.c bindings/python/native/step.c)
  set_target_properties(python-native-module PROPERTIES
    PREFIX "" OUTPUT_NAME _native SUFFIX .abi3.so C_STANDARD 11 C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_include_directories(python-native-module PRIVATE include)
  target_include_directories(python-native-module SYSTEM PRIVATE ${Python3_INCLUDE_DIRS} ${Python3_NumPy_INCLUDE_DIRS})
  target_compile_options(python-native-module PRIVATE -O2 -Wall -Wextra)
  add_dependencies(python-native python-native-module)
else()
  message(STATUS "no headers of Python 3.11 or later, or of NumPy: the Python package will use ctypes for all calls")
endif()
