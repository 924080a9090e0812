{
  # Flags here and in CMakeLists.txt are kept the same; the reasons stand there.
  "target_defaults": {
    "include_dirs": ["native"],
    "cflags": ["-O3", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["-std=c++20", "-fvisibility-inlines-hidden", "-fno-math-errno", "-ffp-contract=off"],
    "xcode_settings": {
      "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_ENABLE_CPP_RTTI": "YES",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["-O3", "-fno-math-errno", "-ffp-contract=off"]
    }
  },
  "targets": [
    {
      "target_name": "elasticlm",
      "sources": [
        "<!@(node scripts/native-sources.mjs baseline)",
        "<!@(node scripts/native-sources.mjs addon)"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS"],
      "conditions": [
        ["target_arch == 'x64'", {"dependencies": ["kernels_avx2", "kernels_avx512", "kernels_avx512bf16"]}],
        ["target_arch == 'arm64'", {"sources": ["<!@(node scripts/native-sources.mjs neon)"]}],
        ["OS == 'linux'", {
          "libraries": ["-ldl"],
          "ldflags": [
            "-static-libstdc++",
            "-static-libgcc",
            "-Wl,--gc-sections",
            "-Wl,--version-script=<(module_root_dir)/native/addon.map"
          ]
        }]
      ]
    }
  ],
  "conditions": [
    ["target_arch == 'x64'", {
      # One library per instruction set: its flags must not reach any other file.
      "targets": [
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["<!@(node scripts/native-sources.mjs avx2)"],
          "cflags_cc": ["-mavx2", "-mfma", "-mf16c"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma", "-mf16c"]}
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["<!@(node scripts/native-sources.mjs avx512)"],
          "cflags_cc": [
            "-march=icelake-server",
            "-mprefer-vector-width=512",
            "-Wno-uninitialized",
            "-Wno-maybe-uninitialized"
          ],
          "xcode_settings": {
            "OTHER_CPLUSPLUSFLAGS": ["-march=icelake-server", "-mprefer-vector-width=512"]
          }
        },
        {
          "target_name": "kernels_avx512bf16",
          "type": "static_library",
          "sources": ["<!@(node scripts/native-sources.mjs avx512bf16)"],
          "cflags_cc": [
            "-march=icelake-server",
            "-mavx512bf16",
            "-mprefer-vector-width=512",
            "-Wno-uninitialized",
            "-Wno-maybe-uninitialized"
          ],
          "xcode_settings": {
            "OTHER_CPLUSPLUSFLAGS": ["-march=icelake-server", "-mavx512bf16", "-mprefer-vector-width=512"]
          }
        }
      ]
    }]
  ]
}
