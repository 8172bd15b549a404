import Glibc
import Synchronization

/// OpenBLAS, on request: loaded at first use into a namespace of its own, so that neither the host's `cblas_*` symbols reach
/// us nor ours the host. It does not keep the order of sums, and with it the same-bits contract does not hold.
public enum BLAS {
  typealias FloatProduct = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>, Int32, Float,
    UnsafeMutablePointer<Float>, Int32
  ) -> Void
  typealias DoubleProduct = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Double, UnsafePointer<Double>, Int32, UnsafePointer<Double>, Int32, Double,
    UnsafeMutablePointer<Double>, Int32
  ) -> Void

  struct Library: Sendable {
    let description: String
    let floatProduct: FloatProduct
    let doubleProduct: DoubleProduct
  }

  public enum Failure: Error, Equatable {
    case unknownName
    case unavailable(String)
  }

  /// Whether products go to OpenBLAS; the one word that the hot path reads.
  @usableFromInline static let active = Atomic<Bool>(false)
  private static let loaded = Mutex<Library?>(nil)
  /// Published before `active`, and never changed or freed afterwards.
  nonisolated(unsafe) private static var library: Library?
  private static let callCount = Atomic<Int>(0)
  /// The environment's wish, taken at the first question.
  private static let fromEnvironment: Void = {
    if let name = getenv("RNN_BLAS") { try? use(String(cString: name)) }
  }()

  /// Below it a product takes less time than OpenBLAS needs to begin one.
  @usableFromInline static let smallestProduct = 1 << 20

  @inlinable @inline(__always)
  public static func takes(rows: Int, depth: Int, outputs: Int) -> Bool {
    active.load(ordering: .acquiring) && rows >= 4 && rows &* depth &* outputs >= smallestProduct
  }

  /// Products that OpenBLAS has computed in this process: how a test knows that the path ran.
  public static var calls: Int { callCount.load(ordering: .relaxed) }

  /// "none", or OpenBLAS's description of itself.
  public static var name: String {
    prepare()
    return active.load(ordering: .acquiring) ? library?.description ?? "none" : "none"
  }

  /// Reads RNN_BLAS once; every network that is made calls it.
  public static func prepare() { fromEnvironment }

  public static func select(_ name: String) throws(Failure) {
    prepare()
    try use(name)
  }

  private static func use(_ name: String) throws(Failure) {
    switch name {
    case "none":
      active.store(false, ordering: .releasing)
    case "openblas":
      var failure: Failure?
      loaded.withLock { current in
        guard current == nil else { return }
        switch load() {
        case .success(let found):
          current = found
          library = found
        case .failure(let error):
          failure = error
        }
      }
      if let failure { throw failure }
      active.store(true, ordering: .releasing)
    default:
      throw .unknownName
    }
  }

  private static func load() -> Result<Library, Failure> {
    // RTLD_DEEPBIND: without it a host program that exports its own cblas_sgemm would receive OpenBLAS's inner calls.
    let flags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND
    guard let handle = dlopen("libopenblas.so.0", flags) ?? dlopen("libopenblas.so", flags) else {
      return .failure(.unavailable(dlerror().map { String(cString: $0) } ?? "dlopen failed"))
    }
    guard let sgemm = dlsym(handle, "cblas_sgemm"), let dgemm = dlsym(handle, "cblas_dgemm"),
      let getConfiguration = dlsym(handle, "openblas_get_config")
    else { return .failure(.unavailable("libopenblas lacks cblas_sgemm, cblas_dgemm or openblas_get_config")) }
    typealias Configuration = @convention(c) () -> UnsafePointer<CChar>?
    let text = unsafeBitCast(getConfiguration, to: Configuration.self)().map { String(cString: $0) } ?? "OpenBLAS"
    // Its integers would be 64 bits wide, ours are 32.
    guard !text.utf8Contains("USE64BITINT") else { return .failure(.unavailable("libopenblas has 64-bit integers: \(text)")) }
    return .success(
      Library(
        description: text, floatProduct: unsafeBitCast(sgemm, to: FloatProduct.self),
        doubleProduct: unsafeBitCast(dgemm, to: DoubleProduct.self)))
  }

  /// One product through OpenBLAS; false if it cannot express it.
  @usableFromInline
  static func product<Scalar: KernelScalar>(_ a: ProductArguments<Scalar>) -> Bool {
    guard let library, let rows = Int32(exactly: a.rows), let depth = Int32(exactly: a.depth),
      let outputs = Int32(exactly: a.outputs), let outputStride = Int32(exactly: a.outputRowStride)
    else { return false }
    // Row-major: 101; as it is 111, transposed 112. The input is [rows, depth] or its transpose, the weight
    // [outputs, depth] or its transpose.
    guard a.inputDepthStride == 1 || a.inputRowStride == 1, a.weightDepthStride == 1 || a.weightOutputStride == 1,
      let inputStride = Int32(exactly: a.inputDepthStride == 1 ? a.inputRowStride : a.inputDepthStride),
      let weightStride = Int32(exactly: a.weightDepthStride == 1 ? a.weightOutputStride : a.weightDepthStride)
    else { return false }
    let transposeInput: Int32 = a.inputDepthStride == 1 ? 111 : 112
    let transposeWeight: Int32 = a.weightDepthStride == 1 ? 112 : 111
    for row in 0..<a.rows {
      let line = a.output + row &* a.outputRowStride
      if let start = a.start {
        let from = start + row &* a.startRowStride
        if from != UnsafePointer(line) { line.update(from: from, count: a.outputs) }
      } else {
        line.update(repeating: 0, count: a.outputs)
      }
    }
    if let a = a as? ProductArguments<Float> {
      library.floatProduct(
        101, transposeInput, transposeWeight, rows, outputs, depth, 1, a.input, inputStride, a.weight, weightStride, 1,
        a.output, outputStride)
    } else if let a = a as? ProductArguments<Double> {
      library.doubleProduct(
        101, transposeInput, transposeWeight, rows, outputs, depth, 1, a.input, inputStride, a.weight, weightStride, 1,
        a.output, outputStride)
    } else {
      return false
    }
    callCount.wrappingAdd(1, ordering: .relaxed)
    return true
  }
}

extension String {
  /// Whether the text has `part` somewhere; the standard library has no search for substrings without Foundation.
  fileprivate func utf8Contains(_ part: String) -> Bool {
    let text = Array(utf8), part = Array(part.utf8)
    guard part.count <= text.count else { return false }
    return (0...(text.count - part.count)).contains { text[$0..<$0 + part.count].elementsEqual(part) }
  }
}
