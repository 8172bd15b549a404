import Foundation
import XCTest

@testable import RNN

final class FileIOTests: XCTestCase {
  private var directory = ""

  override func setUpWithError() throws {
    directory = NSTemporaryDirectory() + "/librnn-FileIOTests-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }

  override func tearDown() { try? FileManager.default.removeItem(atPath: directory) }

  private func path(_ name: String) -> String { directory + "/" + name }

  private func write(_ chunks: [[UInt8]], to path: String, synchronize: Bool = false) throws {
    let buffers = chunks.map { chunk in
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk.count, alignment: 1)
      buffer.copyBytes(from: chunk)
      return buffer
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    try writeFileAtomically(path, chunks: buffers.map { UnsafeRawBufferPointer($0) }, synchronize: synchronize)
  }

  private func contents(_ path: String) throws -> [UInt8] { try withMappedFile(path) { Array($0) } }

  private func files() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: directory).sorted() }

  private func permissions(_ path: String) throws -> Int? {
    try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
  }

  private func assertFails<Value>(
    _ code: RNNError.Code, _ expected: [String], line: UInt = #line, _ body: @autoclosure () throws -> Value
  ) {
    XCTAssertThrowsError(try body(), line: line) {
      let error = $0 as? RNNError
      XCTAssertEqual(error?.code, code, line: line)
      for text in expected { XCTAssertTrue(error?.message.contains(text) == true, "\($0)", line: line) }
    }
  }

  func testWritesChunksOneAfterTheOther() throws {
    let large = (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }
    for synchronize in [false, true] {
      try write([[1, 2], [], large, [3]], to: path("a"), synchronize: synchronize)
      XCTAssertEqual(try contents(path("a")), [1, 2] + large + [3])
      XCTAssertEqual(try files(), ["a"])
    }
  }

  func testAnEmptyFileIsAnEmptyBuffer() throws {
    try write([], to: path("a"))
    XCTAssertEqual(try contents(path("a")), [])
    XCTAssertThrowsError(try withMappedFile(path("a")) { (file) throws(RNNError) in try SafetensorsFile(file) }) {
      XCTAssertEqual(($0 as? RNNError)?.code, .format)
    }
  }

  func testErrorsOfReadingSayPathAndReason() throws {
    assertFails(.io, ["missing\"", "No such file or directory"], try withMappedFile(path("missing")) { $0.count })
    assertFails(.io, ["not a regular file"], try withMappedFile(directory) { $0.count })
    assertFails(.io, ["not a regular file"], try withMappedFile("/dev/zero") { $0.count })
    assertFails(.invalidArgument, ["zero byte"], try withMappedFile("a\0b") { $0.count })
    assertFails(.io, ["No such file"], try withMappedFile("") { $0.count })
    assertFails(
      .io, ["File name too long"], try withMappedFile(path(String(repeating: "x", count: 5000))) { $0.count })
  }

  func testANamedPipeDoesNotBlockTheReader() throws {
    XCTAssertEqual(mkfifo(path("pipe"), 0o600), 0)
    assertFails(.io, ["not a regular file"], try withMappedFile(path("pipe")) { $0.count })
  }

  func testReadersPassOnWhatTheBodyThrows() throws {
    try write([[1]], to: path("a"))
    let failure = RNNError(.shape, "x")
    assertFails(.shape, ["x"], try withMappedFile(path("a")) { (_) throws(RNNError) -> Int in throw failure })
  }

  func testAFailureLeavesNothingBehind() throws {
    assertFails(.io, ["No such file or directory"], try write([[1]], to: path("missing/a")))
    assertFails(.invalidArgument, ["zero byte"], try write([[1]], to: path("a\0")))
    assertFails(.io, ["not a regular file"], try write([[1]], to: directory))
    assertFails(.io, [], try write([[1]], to: path("b/")))
    assertFails(.io, [], try write([[1]], to: ""))
    XCTAssertEqual(mkfifo(path("pipe"), 0o600), 0)
    assertFails(.io, ["not a regular file"], try write([[1]], to: path("pipe")))
    XCTAssertEqual(try files(), ["pipe"])
  }

  func testAFailureLeavesTheOldFile() throws {
    try write([[1, 2, 3]], to: path("a"))
    // Memory that the kernel cannot read: write(2) fails with EFAULT in the middle of the file.
    let size = 1 << 16
    let page = try XCTUnwrap(mmap(nil, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    defer { munmap(page, size) }
    let sound: [UInt8] = [9, 9]
    try sound.withUnsafeBytes { bytes in
      assertFails(
        .io, ["cannot write", "a\"", "Bad address"],
        try writeFileAtomically(
          path("a"), chunks: [bytes, UnsafeRawBufferPointer(start: page, count: size)], synchronize: true))
    }
    XCTAssertEqual(try contents(path("a")), [1, 2, 3])
    XCTAssertEqual(try files(), ["a"])
  }

  func testPermissionsOfTheOldFileAreKept() throws {
    for mode in [0o600, 0o640, 0o755] {
      try write([[1]], to: path("a"))
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path("a"))
      try write([[2]], to: path("a"))
      XCTAssertEqual(try permissions(path("a")), mode)
    }
  }

  func testANewFileFollowsTheUmask() throws {
    let old = umask(0o027)
    defer { umask(old) }
    try write([[1]], to: path("a"))
    XCTAssertEqual(try permissions(path("a")), 0o640)
  }

  func testALinkStaysALink() throws {
    try FileManager.default.createDirectory(atPath: path("real"), withIntermediateDirectories: false)
    try write([[1]], to: path("real/file"))
    try FileManager.default.createSymbolicLink(atPath: path("relative"), withDestinationPath: "real/file")
    try FileManager.default.createSymbolicLink(atPath: path("absolute"), withDestinationPath: path("relative"))
    try FileManager.default.createSymbolicLink(atPath: path("dangling"), withDestinationPath: "real/new")
    try write([[2]], to: path("relative"))
    XCTAssertEqual(try contents(path("real/file")), [2])
    try write([[3]], to: path("absolute"))
    XCTAssertEqual(try contents(path("real/file")), [3])
    try write([[4]], to: path("dangling"))
    XCTAssertEqual(try contents(path("real/new")), [4])
    for link in ["relative", "absolute", "dangling"] {
      XCTAssertNoThrow(try FileManager.default.destinationOfSymbolicLink(atPath: path(link)))
    }
    XCTAssertEqual(try files(), ["absolute", "dangling", "real", "relative"])
  }

  func testALoopOfLinksIsAnError() throws {
    try FileManager.default.createSymbolicLink(atPath: path("a"), withDestinationPath: "b")
    try FileManager.default.createSymbolicLink(atPath: path("b"), withDestinationPath: "a")
    assertFails(.io, ["symbolic links"], try write([[1]], to: path("a")))
  }

  func testANameAsLongAsNamesCanBeIsWritten() throws {
    let name = String(repeating: "n", count: 255)
    try write([[1]], to: path(name))
    XCTAssertEqual(try contents(path(name)), [1])
  }

  func testAMappingKeepsTheOldFileWhileItIsReplaced() throws {
    try write([[1, 1]], to: path("a"))
    try withMappedFile(path("a")) { (old) throws(RNNError) in
      do { try write([[2]], to: path("a")) } catch { throw RNNError(.io, "\(error)") }
      XCTAssertEqual(Array(old), [1, 1])
    }
    XCTAssertEqual(try contents(path("a")), [2])
  }

  func testAModelFileGoesToDiskAndBack() throws {
    let values: [Float] = [1, -2, 3.5]
    try values.withUnsafeBytes { bytes in
      try SafetensorsFile.write(
        to: path("model.safetensors"), metadata: [("k", "v")],
        tensors: [TensorSource(name: "w", type: .float32, shape: [3], bytes: bytes)], synchronize: false)
    }
    let read = try withMappedFile(path("model.safetensors")) { (file) throws(RNNError) in
      let parsed = try SafetensorsFile(file)
      let range = parsed.tensor(named: "w")?.byteRange ?? 0..<0
      return stride(from: range.lowerBound, to: range.upperBound, by: 4).map {
        file.loadUnaligned(fromByteOffset: $0, as: Float.self)
      }
    }
    XCTAssertEqual(read, values)
  }
}
