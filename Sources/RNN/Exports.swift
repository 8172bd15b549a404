// The element types are part of the interface; the kernels are not.
@_exported import protocol RNNKernels.KernelScalar
@_exported import enum RNNKernels.ActivationKind
