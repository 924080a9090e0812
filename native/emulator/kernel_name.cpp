#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "emulator/scheduler.h"

namespace elasticlm::emulator {
namespace {

// The name of the function at `offset` in the symbol table of an ELF file; empty without. (dladdr sees
// exported names alone, and kernels are in no header.)
std::string symbol_at(const char* file, uintptr_t offset) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) return {};
  std::vector<char> bytes(static_cast<size_t>(stream.tellg()));
  stream.seekg(0);
  if (!stream.read(bytes.data(), std::ssize(bytes)) || bytes.size() < sizeof(ElfW(Ehdr))) return {};
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(bytes.data());
  if (header->e_shoff == 0 || header->e_shoff + header->e_shnum * sizeof(ElfW(Shdr)) > bytes.size())
    return {};
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(bytes.data() + sections[i].sh_offset);
    const char* names = bytes.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t j = 0; j < sections[i].sh_size / sizeof(ElfW(Sym)); j++) {
      if ((symbols[j].st_info & 0xf) == STT_FUNC && symbols[j].st_value == offset)
        return names + symbols[j].st_name;
    }
  }
  return {};
}

}  // namespace

std::string kernel_name(const void* kernel) {
  Dl_info info = {};
  std::string symbol;
  link_map* loaded = nullptr;
  if (dladdr1(kernel, &info, reinterpret_cast<void**>(&loaded), RTLD_DL_LINKMAP) != 0) {
    if (info.dli_saddr == kernel && info.dli_sname != nullptr) {
      symbol = info.dli_sname;
    } else {
      const char* file = loaded->l_name[0] != '\0' ? loaded->l_name : "/proc/self/exe";
      symbol = symbol_at(file, reinterpret_cast<uintptr_t>(kernel) - loaded->l_addr);
    }
  }
  if (symbol.empty()) {
    char address[32];
    std::snprintf(address, sizeof address, "kernel %p", kernel);
    return address;
  }
  int status = 0;
  char* readable = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : symbol;
  std::free(readable);
  return name;
}

}  // namespace elasticlm::emulator
