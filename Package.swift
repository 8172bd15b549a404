// swift-tools-version: 6.2
import PackageDescription

// Who may import whom (docs/design.md): RNNExports > RNN > RNNKernels > RNNKernels{Baseline,V3,V4} > RNNKernelBodies.
// tools 6.2 is the first version that lets a package with unsafeFlags be a versioned dependency (docs/decisions/build.md).

/// The kernels of one instruction set: the shared bodies, instantiated under that set's flags. Always -O, in debug too: an
/// unoptimised instance would not be inlined and would leave weak symbols that other instruction sets could pick up.
func kernels(_ name: String, march: String?) -> Target {
  .target(
    name: name, dependencies: ["RNNKernelBodies", "CRNNSupport"],
    swiftSettings: [.unsafeFlags(["-O"] + (march.map { ["-Xcc", "-march=\($0)"] } ?? []))])
}

#if arch(x86_64)
  let kernelTargets = [
    kernels("RNNKernelsBaseline", march: nil),
    kernels("RNNKernelsV3", march: "x86-64-v3"),
    kernels("RNNKernelsV4", march: "x86-64-v4"),
  ]
#else
  let kernelTargets = [kernels("RNNKernelsBaseline", march: nil)]
#endif

let package = Package(
  name: "librnn",
  products: [
    // MARK: - For Swift programs
    .library(name: "RNN", targets: ["RNN"]),
    // MARK: - For everybody else: the C interface (built and installed by CMake)
    .library(name: "rnn", type: .dynamic, targets: ["RNNExports"]),
  ],
  targets: kernelTargets + [
    // MARK: - C boundary
    .systemLibrary(name: "CRNN", path: "include"),
    .target(name: "RNNExports", dependencies: ["RNN", "CRNN", "CRNNSupport"]),

    // MARK: - The library
    .target(name: "RNN", dependencies: ["RNNKernels", "CRNNSupport"]),

    // MARK: - Kernels
    .target(name: "RNNKernels", dependencies: ["RNNKernelBodies", "CRNNSupport"] + kernelTargets.map { .target(name: $0.name) }),
    .target(name: "RNNKernelBodies", dependencies: ["CRNNSupport"], swiftSettings: [.unsafeFlags(["-O"])]),
    .target(name: "CRNNSupport"),

    // MARK: - Tests
    .testTarget(name: "RNNKernelsTests", dependencies: ["RNNKernels", "RNNKernelBodies", "CRNNSupport"]),
    .testTarget(name: "RNNTests", dependencies: ["RNN", "RNNKernels"]),
    .testTarget(name: "RNNExportsTests", dependencies: ["RNNExports", "RNN", "CRNN"]),
  ],
  swiftLanguageModes: [.v6]
)
