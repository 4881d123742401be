#!/bin/sh
# Sets up the environment of the peer comparison in build/peers and runs it (make bench-peers).
# The int8 ONNX model is made from the shipped bundle by tf2onnx in the project's own environment.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
bundle=${BUNDLE:-edge/winnow_edge/bundles/hirise-landmarks.winnow}
mkdir -p build/peers
# Winnow as it is in this tree: an installed copy would stay what it was.
packages="-e ./edge sahi supervision rasterio onnxruntime opencv-python-headless tensorflow-cpu keras"
done=build/peers/venv/.done-$(echo "$packages" | cksum | cut -d' ' -f1)
if [ ! -f "$done" ]; then
    "$python" -m venv --clear build/peers/venv
    # uv installs in seconds where the project's environment has it; pip does the same in minutes.
    if "$python" -m uv --version >/dev/null 2>&1; then
        "$python" -m uv pip install -q --python build/peers/venv/bin/python $packages
    else
        build/peers/venv/bin/python -m pip install -q $packages
    fi
    touch "$done"
fi
unzip -p "$bundle" model.tflite >build/peers/new.tflite
if [ ! -f build/peers/model.onnx ] || ! cmp -s build/peers/new.tflite build/peers/model.tflite; then
    mv build/peers/new.tflite build/peers/model.tflite
    rm -f build/peers/model.onnx
    "$python" -m tf2onnx.convert --tflite build/peers/model.tflite \
        --output build/peers/model.onnx --opset 17 >build/peers/tf2onnx.log 2>&1 ||
        echo "peers: no ONNX model (see build/peers/tf2onnx.log)" >&2
fi
run() {
    build/peers/venv/bin/python -m benchmarks.peers.compare --bundle "$bundle" "$@"
}
if [ $# -gt 0 ]; then
    run "$@"
else
    run
    echo
    run --samples 20048 --lines 8192 --rounds 1 --warm-up 0 --without keras
fi
