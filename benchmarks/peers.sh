#!/bin/sh
# Sets up the environment of the peer comparison in build/peers and runs it (make bench-peers).
# The int8 ONNX model is made from the shipped bundle by tf2onnx in the project's own environment.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
bundle=${BUNDLE:-edge/winnow_edge/bundles/hirise-landmarks.winnow}
mkdir -p build/peers
if [ ! -x build/peers/venv/bin/python ]; then
    "$python" -m venv build/peers/venv
    build/peers/venv/bin/python -m pip install -q ./edge sahi supervision rasterio onnxruntime \
        opencv-python-headless tensorflow-cpu keras
fi
unzip -o -q "$bundle" model.tflite -d build/peers
if [ ! -f build/peers/model.onnx ] || [ build/peers/model.tflite -nt build/peers/model.onnx ]; then
    "$python" -m tf2onnx.convert --tflite build/peers/model.tflite \
        --output build/peers/model.onnx --opset 17 >build/peers/tf2onnx.log 2>&1 ||
        echo "peers: no ONNX model (see build/peers/tf2onnx.log)" >&2
fi
exec build/peers/venv/bin/python benchmarks/peers.py --bundle "$bundle" "$@"
