import CRNN
import CRNNSupport
import RNN
import Synchronization

/// The header is the one place for the version.
private let version = UInt(bitPattern: internedCString(RNN_VERSION_STRING))

@_cdecl("rnn_version") @implementation
public func rnn_version() -> UnsafePointer<CChar>! { UnsafePointer(bitPattern: version) }

@_cdecl("rnn_version_number") @implementation
public func rnn_version_number() -> UInt32 { UInt32(RNN_VERSION_NUMBER) }

@_cdecl("rnn_last_error_message") @implementation
public func rnn_last_error_message() -> UnsafePointer<CChar>! { rnn_cpu_message() }

@_cdecl("rnn_status_name") @implementation
public func rnn_status_name(_ status: rnn_status) -> UnsafePointer<CChar>! {
  switch status {
  case 0: cString("RNN_OK")
  case -1: cString("RNN_ERROR_INVALID_ARGUMENT")
  case -2: cString("RNN_ERROR_INVALID_HANDLE")
  case -3: cString("RNN_ERROR_BUFFER_TOO_SMALL")
  case -4: cString("RNN_ERROR_SHAPE")
  case -5: cString("RNN_ERROR_DTYPE")
  case -6: cString("RNN_ERROR_OUT_OF_MEMORY")
  case -7: cString("RNN_ERROR_IO")
  case -8: cString("RNN_ERROR_FORMAT")
  case -9: cString("RNN_ERROR_UNSUPPORTED")
  case -10: cString("RNN_ERROR_BUSY")
  case -11: cString("RNN_ERROR_NOT_FOUND")
  default: cString("unknown status")
  }
}

@_cdecl("rnn_kernels_name") @implementation
public func rnn_kernels_name() -> UnsafePointer<CChar>! { internedCString(Runtime.kernelsName) }

@_cdecl("rnn_blas_set") @implementation
public func rnn_blas_set(_ name: UnsafePointer<CChar>!) -> rnn_status {
  catchingErrors { () throws(RNNError) in try Runtime.selectBLAS(try text(name, named: "name")) }
}

@_cdecl("rnn_blas_name") @implementation
public func rnn_blas_name() -> UnsafePointer<CChar>! { internedCString(Runtime.blasName) }

@_cdecl("rnn_threads_set") @implementation
public func rnn_threads_set(_ count: Int) -> rnn_status {
  catchingErrors { () throws(RNNError) in try Runtime.setThreadLimit(count) }
}

@_cdecl("rnn_threads_get") @implementation
public func rnn_threads_get() -> Int { Runtime.threadLimit }

private func cString(_ text: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// A C string that lives as long as the process. For the few names that are not literals.
private func internedCString(_ text: String) -> UnsafePointer<CChar> {
  let address = internedStrings.withLock { strings -> UInt in
    if let known = strings[text] { return known }
    let bytes = text.utf8CString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    for (i, byte) in bytes.enumerated() { (copy + i).initialize(to: byte) }
    strings[text] = UInt(bitPattern: copy)
    return UInt(bitPattern: copy)
  }
  return UnsafePointer(bitPattern: address) ?? cString("")
}

private let internedStrings = Mutex<[String: UInt]>([:])
