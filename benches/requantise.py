#!/usr/bin/env python3
"""A copy of a GGUF model with its matrices in another format.

    pip install gguf
    python3 benches/requantise.py FROM.gguf TO.gguf f32|f16|bf16|q4_0|q4_1|q8_0

For comparing engines on one model in several formats; made from weights that are already rounded,
it says nothing about quality but for f32, which holds the same numbers exactly. Norms stay as they
are, and for 4-bit formats so does what the file keeps in 8 bits, as llama.cpp's own quantiser does
with the output head.
"""
import sys

import gguf
from gguf.quants import dequantize, quantize


def write(source, target, wanted):
    kind = gguf.GGMLQuantizationType[wanted.upper()]
    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        data, stored = tensor.data, tensor.tensor_type
        keep = len(tensor.shape) < 2 or ("4" in wanted and stored == gguf.GGMLQuantizationType.Q8_0)
        if not keep:
            data, stored = quantize(dequantize(data, stored), kind), kind
        writer.add_tensor(tensor.name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    write(*sys.argv[1:])
