import CRNN
import Foundation
import Synchronization
import XCTest

@testable import RNN
@testable import RNNExports

/// The exports as C calls them.
final class ExportsTests: XCTestCase {
  private var lastMessage: String { String(cString: rnn_last_error_message()) }

  /// x (2 features), an LSTM of 3 units.
  private func makeNetwork() -> OpaquePointer {
    var builder: OpaquePointer?, network: OpaquePointer?
    XCTAssertEqual(rnn_builder_create(nil, &builder), 0)
    XCTAssertEqual(rnn_builder_add_input(builder, "x", 2), 0)
    var options = rnn_recurrent_options()
    options.struct_size = MemoryLayout<rnn_recurrent_options>.size
    options.hidden_size = 3
    options.cell = 2
    XCTAssertEqual(rnn_builder_add_recurrent(builder, "lstm", nil, &options), 0)
    XCTAssertEqual(rnn_builder_build(builder, nil, &network), 0, lastMessage)
    rnn_builder_destroy(builder)
    return network!
  }

  // MARK: - Status codes

  /// Constants and names as include/rnn.h has them.
  func testEveryStatusHasItsNameFromTheHeader() throws {
    let header = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("include/rnn.h"), encoding: .utf8)
    let pattern = try NSRegularExpression(pattern: #"#define (RNN_OK|RNN_ERROR_\w+) \(\(rnn_status\)(-?\d+)\)"#)
    var statuses: [Int32: String] = [:]
    for match in pattern.matches(in: header, range: NSRange(header.startIndex..., in: header)) {
      let name = String(header[Range(match.range(at: 1), in: header)!])
      let value = Int32(header[Range(match.range(at: 2), in: header)!])!
      XCTAssertNil(statuses.updateValue(name, forKey: value), "\(value) is used twice")
    }
    XCTAssertEqual(statuses.count, 12)
    for (value, name) in statuses { XCTAssertEqual(String(cString: rnn_status_name(value)), name) }
    for value in [1, -12, Int32.min, Int32.max] as [Int32] {
      XCTAssertEqual(String(cString: rnn_status_name(value)), "unknown status")
    }
    // Every kind of error of the library leads to the status of its name.
    let codes: [(RNNError.Code, String)] = [
      (.invalidArgument, "RNN_ERROR_INVALID_ARGUMENT"), (.invalidHandle, "RNN_ERROR_INVALID_HANDLE"),
      (.bufferTooSmall, "RNN_ERROR_BUFFER_TOO_SMALL"), (.shape, "RNN_ERROR_SHAPE"), (.dtype, "RNN_ERROR_DTYPE"),
      (.outOfMemory, "RNN_ERROR_OUT_OF_MEMORY"), (.io, "RNN_ERROR_IO"), (.format, "RNN_ERROR_FORMAT"),
      (.unsupported, "RNN_ERROR_UNSUPPORTED"), (.busy, "RNN_ERROR_BUSY"), (.notFound, "RNN_ERROR_NOT_FOUND"),
    ]
    for (code, name) in codes {
      let status = catchingErrors { () throws(RNNError) in throw RNNError(code, "message of \(name)") }
      XCTAssertEqual(statuses[status], name)
      XCTAssertEqual(lastMessage, "message of \(name)")
    }
    XCTAssertEqual(catchingErrors { () throws(RNNError) in }, 0)
  }

  func testTheVersionIsThatOfTheHeader() {
    let parts = String(cString: rnn_version()).split(separator: ".").map { UInt32($0)! }
    XCTAssertEqual(String(cString: rnn_version()), RNN_VERSION_STRING)
    XCTAssertEqual(rnn_version_number(), parts[0] * 10000 + parts[1] * 100 + parts[2])
    XCTAssertEqual(rnn_version_number(), UInt32(RNN_VERSION_NUMBER))
  }

  // MARK: - Messages

  func testASuccessLeavesTheMessageAsItIs() {
    XCTAssertEqual(rnn_state_reset(nil), -2)
    XCTAssertEqual(lastMessage, "state is NULL, expected a state")
    let network = makeNetwork()
    XCTAssertEqual(lastMessage, "state is NULL, expected a state")
    rnn_network_destroy(network)
  }

  func testEveryThreadHasItsMessage() {
    _ = rnn_state_reset(nil)
    let other = Mutex<[String]>([])
    let thread = Thread {
      let before = String(cString: rnn_last_error_message())
      _ = rnn_stream_step(nil)
      let after = String(cString: rnn_last_error_message())
      other.withLock { $0 = [before, after] }
    }
    thread.start()
    while !thread.isFinished { usleep(1000) }
    XCTAssertEqual(other.withLock { $0 }, ["", "stream is NULL, expected a stream"])
    XCTAssertEqual(lastMessage, "state is NULL, expected a state")
  }

  /// The memory of a message is limited; a character is not cut in two.
  func testALongMessageIsCutBetweenCharacters() {
    for length in 1018...1026 {
      let text = String(repeating: "a", count: length) + "éé"
      _ = catchingErrors { () throws(RNNError) in throw RNNError(.io, text) }
      let message = rnn_last_error_message()!
      XCTAssertNotNil(String(validatingCString: message), "\(length)")
      XCTAssertLessThan(strlen(message), 1024)
      XCTAssertTrue(text.hasPrefix(String(cString: message)))
      XCTAssertGreaterThanOrEqual(strlen(message), min(1022, text.utf8.count))
    }
  }

  // MARK: - Options

  /// Memory for a struct of any size, filled with a byte, beginning with a size.
  private func withStruct<Result>(
    claimed size: Int, room: Int = 4200, fill: UInt8 = 0, _ body: (UnsafeMutableRawPointer) -> Result
  ) -> Result {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: room, alignment: 16)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: fill, count: room)
    memory.storeBytes(of: size, as: Int.self)
    return body(memory)
  }

  func testOptionsOfOlderAndNewerCallers() {
    let network = makeNetwork()
    defer { rnn_network_destroy(network) }
    let known = MemoryLayout<rnn_state_options>.size
    func rows(_ size: Int, batch: Int, tail: UInt8 = 0) -> Int32 {
      withStruct(claimed: size) { memory in
        memory.storeBytes(of: batch, toByteOffset: 8, as: Int.self)
        if tail != 0 { memory.storeBytes(of: tail, toByteOffset: size - 1, as: UInt8.self) }
        var state: OpaquePointer?
        let status = rnn_state_create(network, UnsafePointer(memory.assumingMemoryBound(to: rnn_state_options.self)), &state)
        guard status == 0 else {
          XCTAssertNil(state)
          return status
        }
        defer { rnn_state_destroy(state) }
        // h and c have 3 numbers each for a row; writing takes exactly as many as there are.
        let values = [Float](repeating: 0, count: 60)
        return (1...10).first { rnn_state_write(state, nil, values, $0 * 6) == 0 }.map { Int32($0) } ?? 0
      }
    }
    XCTAssertEqual(rows(known, batch: 7), 7)
    // An older caller has no field for the batch: what lies there is not read.
    XCTAssertEqual(rows(8, batch: 7), 1)
    // Part of a field, too, is none of ours to refuse: its known bytes count.
    XCTAssertEqual(rows(9, batch: 7), 7)
    // A newer caller, whose new fields are zero; and one that asks for something.
    XCTAssertEqual(rows(known + 8, batch: 7), 7)
    XCTAssertEqual(rows(4096, batch: 7), 7)
    XCTAssertEqual(rows(known + 8, batch: 7, tail: 1), -9)
    XCTAssertTrue(lastMessage.contains("struct_size is \(known + 8)"), lastMessage)
    XCTAssertEqual(rows(4096, batch: 7, tail: 1), -9)
    for size in [0, 1, 7, 4097, Int.max, -1, Int.min] {
      XCTAssertEqual(rows(size, batch: 1), -1, "\(size)")
      XCTAssertTrue(lastMessage.contains("struct_size is \(UInt(bitPattern: size))"), lastMessage)
    }
  }

  func testMisalignedOptionsAreRefused() {
    let network = makeNetwork()
    defer { rnn_network_destroy(network) }
    withStruct(claimed: 16) { memory in
      var state: OpaquePointer?
      let odd = UnsafeRawPointer(memory + 1).assumingMemoryBound(to: rnn_state_options.self)
      XCTAssertEqual(rnn_state_create(network, odd, &state), -1)
      XCTAssertTrue(lastMessage.contains("expected a multiple of 8"), lastMessage)
    }
  }

  /// A struct that the library fills is filled as far as its caller knows it, and no byte further.
  func testInfoIsFilledAsFarAsItGoes() {
    let network = makeNetwork()
    defer { rnn_network_destroy(network) }
    var whole = rnn_network_info()
    whole.struct_size = MemoryLayout<rnn_network_info>.size
    XCTAssertEqual(rnn_network_describe(network, &whole), 0)
    XCTAssertEqual([whole.input_size, whole.output_size, whole.parameter_count, whole.state_elements], [2, 3, 4, 6])
    XCTAssertEqual(whole.parameter_elements, 12 * 2 + 12 * 3 + 24)
    let known = MemoryLayout<rnn_network_info>.size
    for size in [8, 12, 16, 32, known, known + 8, 4096] {
      withStruct(claimed: size, fill: 0xee) { memory in
        XCTAssertEqual(rnn_network_describe(network, memory.assumingMemoryBound(to: rnn_network_info.self)), 0)
        let bytes = UnsafeRawBufferPointer(start: memory, count: 4200)
        withUnsafeBytes(of: whole) { expected in
          XCTAssertTrue(bytes[8..<min(size, known)].elementsEqual(expected[8..<min(size, known)]), "\(size)")
        }
        XCTAssertEqual(bytes.load(as: Int.self), size)
        XCTAssertTrue(bytes[min(size, known)...].allSatisfy { $0 == 0xee }, "\(size): wrote past the caller's struct")
      }
    }
  }

  // MARK: - Objects

  func testAStreamIsBusyWhileAnotherCallUsesIt() throws {
    let network = makeNetwork()
    defer { rnn_network_destroy(network) }
    var stream: OpaquePointer?
    XCTAssertEqual(rnn_stream_create(network, nil, &stream), 0)
    let borrowed = try HandleTable.borrow(stream, .stream, exclusively: true, named: "stream")
    XCTAssertEqual(rnn_stream_step(stream), -10)
    XCTAssertTrue(lastMessage.contains("another call is using this stream"))
    // Destroyed in the middle of a call: the call ends as if nothing had happened, the next one finds nothing.
    rnn_stream_destroy(stream)
    XCTAssertEqual(rnn_stream_step(stream), -2)
    borrowed.end()
    XCTAssertEqual(rnn_stream_step(stream), -2)
    XCTAssertTrue(lastMessage.contains("was destroyed"))
  }

  /// The order of destruction is free: streams and tapes keep what they need.
  func testStreamsAndTapesOutliveTheirNetwork() {
    let network = makeNetwork()
    var stream: OpaquePointer?, tape: OpaquePointer?
    XCTAssertEqual(rnn_stream_create(network, nil, &stream), 0)
    let input: [Float] = [1, 2]
    var output: [Float] = [0, 0, 0]
    XCTAssertEqual(
      rnn_network_forward_train(network, 1, 1, input, 2, nil, 0, nil, 0, nil, &output, 3, nil, &tape), 0, lastMessage)
    rnn_network_destroy(network)
    XCTAssertEqual(rnn_stream_step(stream), 0)
    XCTAssertEqual(rnn_stream_reset(stream), 0)
    XCTAssertEqual(rnn_network_backward(network, tape, output, 3, nil, nil, 0, nil, nil, 0, nil), -2)
    rnn_tape_destroy(tape)
    rnn_stream_destroy(stream)
  }

  /// Threads run on one network while another destroys it: each call succeeds or finds it destroyed.
  func testANetworkMayBeDestroyedWhileThreadsRunIt() {
    for _ in 0..<10 {
      let handle = UInt(bitPattern: makeNetwork())
      let strange = Atomic<Int>(0), successes = Atomic<Int>(0)
      DispatchQueue.concurrentPerform(iterations: 4) { thread in
        let input = [Float](repeating: 1, count: 8)
        var output = [Float](repeating: 0, count: 12)
        for i in 0..<60 {
          if thread == 0 && i == 20 {
            while successes.load(ordering: .relaxed) < 5 { usleep(100) }
            rnn_network_destroy(OpaquePointer(bitPattern: handle))
          }
          let status = rnn_network_run(
            OpaquePointer(bitPattern: handle), 4, 1, input, 8, nil, 0, nil, 0, nil, &output, 12, nil)
          if status == 0 { successes.wrappingAdd(1, ordering: .relaxed) }
          if status != 0 && status != -2 { strange.wrappingAdd(1, ordering: .relaxed) }
        }
      }
      XCTAssertEqual(strange.load(ordering: .relaxed), 0)
      XCTAssertGreaterThanOrEqual(successes.load(ordering: .relaxed), 5)
      XCTAssertEqual(rnn_network_run(OpaquePointer(bitPattern: handle), 0, 1, nil, 0, nil, 0, nil, 0, nil, nil, 0, nil), -2)
    }
  }
}
