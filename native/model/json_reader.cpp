#include "model/json_reader.h"

#include <limits>
#include <utility>

#include "core/status.h"
#include "model/printable.h"

namespace elasticlm {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_code_point(std::string& out, uint32_t code) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    tail(12), tail(6), tail(0);
  }
}

// The form of a UTF-8 sequence by its first byte: its length, and the bounds of its second byte, which
// exclude overlong forms, surrogates and code points past U+10FFFF (Unicode 15, table 3-7).
struct Utf8Form {
  size_t length = 0;  // 0: no sequence begins with this byte
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xbf;
};

Utf8Form utf8_form(unsigned char first) {
  if (first >= 0xc2 && first <= 0xdf) return {2};
  if (first == 0xe0) return {3, 0xa0, 0xbf};
  if (first == 0xed) return {3, 0x80, 0x9f};
  if (first >= 0xe1 && first <= 0xef) return {3};
  if (first == 0xf0) return {4, 0x90, 0xbf};
  if (first >= 0xf1 && first <= 0xf3) return {4};
  if (first == 0xf4) return {4, 0x80, 0x8f};
  return {};
}

}  // namespace

JsonReader::JsonReader(const char* text, size_t size, std::string subject)
    : text_(text), size_(size), subject_(std::move(subject)) {}

void JsonReader::refuse(const std::string& expected) const {
  fail(ErrorCode::kCheckpointInvalid,
       {.expected = expected,
        .subject = subject_ + " at byte " + std::to_string(position_),
        .received = position_ < size_ ? quoted({text_ + position_, 1}) : "the end of the header",
        .remedy = ""});
}

void JsonReader::skip_whitespace() {
  while (position_ < size_) {
    const char c = text_[position_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++position_;
  }
}

void JsonReader::consume(char wanted, const char* expected) {
  skip_whitespace();
  if (position_ >= size_ || text_[position_] != wanted) refuse(expected);
  ++position_;
}

void JsonReader::enter_object() {
  consume('{', "an object");
  fresh_ = true;
}

void JsonReader::enter_array() {
  consume('[', "an array");
  fresh_ = true;
}

bool JsonReader::next_in(char closing, const char* expected) {
  skip_whitespace();
  const bool first = std::exchange(fresh_, false);
  if (peek() == closing) {
    ++position_;
    return false;
  }
  if (!first) consume(',', expected);
  return true;
}

bool JsonReader::next_member(std::string& name) {
  if (!next_in('}', "a comma or the end of the object")) return false;
  name = string();
  consume(':', "a colon");
  return true;
}

bool JsonReader::next_element() { return next_in(']', "a comma or the end of the array"); }

int64_t JsonReader::count() {
  constexpr const char* kExpected = "a whole number in [0, 2^63)";
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  skip_whitespace();
  if (!is_digit(peek())) refuse(kExpected);
  const bool leading_zero = peek() == '0';
  uint64_t value = 0;
  for (int digits = 0; is_digit(peek()); ++digits) {
    const uint64_t digit = static_cast<uint64_t>(peek() - '0');
    if ((leading_zero && digits > 0) || value > (kMax - digit) / 10) refuse(kExpected);
    value = value * 10 + digit;
    ++position_;
  }
  if (peek() == '.' || peek() == 'e' || peek() == 'E') refuse(kExpected);
  return static_cast<int64_t>(value);
}

void JsonReader::finish() {
  while (peek() == ' ') ++position_;
  if (position_ != size_) refuse("nothing but spaces after the object");
}

std::string JsonReader::string() {
  consume('"', "a string");
  std::string out;
  while (true) {
    if (position_ >= size_) refuse("the end of a string");
    const unsigned char byte = static_cast<unsigned char>(text_[position_]);
    if (byte < 0x20) refuse("no control character in a string");
    if (byte >= 0x80) {
      append_utf8_sequence(out);
      continue;
    }
    ++position_;
    if (byte == '"') return out;
    if (byte == '\\') {
      append_escape(out);
    } else {
      out += static_cast<char>(byte);
    }
  }
}

void JsonReader::append_utf8_sequence(std::string& out) {
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(text_[position_ + i]); };
  const Utf8Form form = utf8_form(byte_at(0));
  bool valid = form.length > 0 && form.length <= size_ - position_ && byte_at(1) >= form.second_min &&
               byte_at(1) <= form.second_max;
  for (size_t i = 2; valid && i < form.length; ++i) valid = (byte_at(i) & 0xc0) == 0x80;
  if (!valid) refuse("well-formed UTF-8");
  out.append(text_ + position_, form.length);
  position_ += form.length;
}

uint32_t JsonReader::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = peek();
    uint32_t digit = 0;
    if (is_digit(c)) {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint32_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A' + 10);
    } else {
      refuse("four hexadecimal digits");
    }
    value = value * 16 + digit;
    ++position_;
  }
  return value;
}

// Behind the backslash.
void JsonReader::append_escape(std::string& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  const char name = peek();
  if (const size_t found = kNames.find(name); found != std::string_view::npos && position_ < size_) {
    out += kValues[found];
    ++position_;
    return;
  }
  if (name != 'u') refuse("an escape sequence of JSON");
  ++position_;
  uint32_t code = hex4();
  if (code >= 0xdc00 && code <= 0xdfff) refuse("no low surrogate without a high one");
  if (code >= 0xd800 && code <= 0xdbff) {
    constexpr const char* kExpected = "a low surrogate after a high one";
    if (peek() != '\\') refuse(kExpected);
    ++position_;
    if (peek() != 'u') refuse(kExpected);
    ++position_;
    const uint32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) refuse(kExpected);
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_code_point(out, code);
}

}  // namespace elasticlm
