/// A name for use in a message: in double quotes, at most `limit` scalars of it, and nothing in it that could act on a
/// terminal or a log.
///
/// Names come from files that may be hostile. Line breaks would forge log lines, escape sequences would reach the
/// terminal, and invisible or right-to-left marks would show another name than the one in the file; all of them are
/// written as `\u{…}`. The length is counted in scalars, because one `Character` can be arbitrarily long.
func quoted(_ name: String, limit: Int = 64) -> String {
  var result = "\""
  var count = 0
  for scalar in name.unicodeScalars {
    guard count < limit else {
      result += "…"
      break
    }
    count += 1
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate:
      result += "\\u{\(String(scalar.value, radix: 16))}"
    default:
      if scalar == "\"" || scalar == "\\" { result += "\\" }
      result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}
