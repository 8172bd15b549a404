// The element types are part of the interface; the kernels are not.
@_exported import protocol RNNKernels.KernelScalar
/// The names of activation functions are too.
@_exported import enum RNNKernelBodies.ActivationKind
