// A strict pull reader for JSON whose grammar the caller knows, as the header of a safetensors file. It
// builds no tree: memory is what the caller keeps, and there is no recursion for hostile nesting to exhaust.
// Why it is ours: docs/design/0002-own-json-reader.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace elasticlm {

class JsonReader {
 public:
  // Reads `text`, which must outlive the reader. Every method throws kCheckpointInvalid naming `subject` and
  // the byte position when the text is not JSON, or not what the method asks for.
  JsonReader(const char* text, size_t size, std::string subject);

  // Consumes "{"; then next_member reads each member's name and its colon, and is false once "}" has been
  // consumed. The caller reads the member's value before it asks for the next one. Duplicate names are the
  // caller's to refuse.
  void enter_object();
  bool next_member(std::string& name);

  // Consumes "["; then next_element is true before each element, and false once "]" has been consumed.
  void enter_array();
  bool next_element();

  // A string as UTF-8: escapes decoded, surrogates paired, malformed UTF-8 refused. May hold NUL.
  std::string string();

  // A whole number in [0, 2^63), without sign, fraction, exponent or leading zeros; exact.
  int64_t count();

  // The end of the text, after any number of spaces.
  void finish();

  // Throws kCheckpointInvalid: `expected` at the present position, and what stands there instead.
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  void skip_whitespace();
  char peek() const { return position_ < size_ ? text_[position_] : '\0'; }
  void consume(char wanted, const char* expected);
  bool next_in(char closing, const char* expected);
  uint32_t hex4();
  void append_escape(std::string& out);
  void append_utf8_sequence(std::string& out);

  const char* text_;
  size_t size_;
  size_t position_ = 0;
  bool fresh_ = false;  // just behind "{" or "[": no comma is due
  std::string subject_;
};

}  // namespace elasticlm
