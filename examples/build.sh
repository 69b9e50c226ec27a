#!/usr/bin/env bash
# Builds the examples in other languages under .examples, as far as their tools are here; what is missing is said.
set -euo pipefail
cd "$(dirname "$0")/.."
out=.examples
mkdir -p "$out"

# Node.js: npm's own package of ONNX Runtime.
if command -v npm > /dev/null; then
    npm ci --silent --no-audit --no-fund --prefix examples/node
else
    echo "examples/node is not built: install Node.js 20 and npm" >&2
    exit 0
fi

# C++: a release of ONNX Runtime would do as it comes. What npm has of one is the library for Node.js and, in a package for
# phones, the headers of an older version, which a newer library serves too.
if ! command -v cmake > /dev/null || ! command -v g++ > /dev/null || [ ! -d /usr/include/nlohmann ]; then
    echo "examples/cpp is not built: install cmake, g++ and nlohmann-json3-dev" >&2
    exit 0
fi
root=$out/onnxruntime
if [ ! -e "$root/.done" ]; then
    rm -rf "$root"
    mkdir -p "$root/lib"
    archive=$(cd "$root" && npm pack --silent @siteed/sherpa-onnx.rn@1.3.1)
    tar -xzf "$root/$archive" -C "$root" --strip-components=2 package/prebuilt/include/onnxruntime
    rm "$root/$archive"
    cp examples/node/node_modules/onnxruntime-node/bin/napi-v*/"$(uname -s | tr '[:upper:]' '[:lower:]')"/x64/libonnxruntime.so.1 "$root/lib"
    touch "$root/.done"
fi
cmake -S examples/cpp -B "$out/cpp" -DONNXRUNTIME_ROOT="$PWD/$root" -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$out/cpp" > /dev/null
