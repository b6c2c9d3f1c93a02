# Writes images.h: tiny PNG and JPEG files with the pixels that Pillow reads from them, and resized images by PyTorch:
# python tests/reference/make_images.py
import io, os, struct, zlib
import numpy as np, torch
from PIL import Image

out = ["/* Made by make_images.py: Pillow's files and pixels, PyTorch's resized images. */", "#include <stdint.h>", ""]
rng = np.random.default_rng(3)
h, w = 6, 9


def array(kind, name, values, form="{}"):
    out.append(f"static const {kind} {name}[] = {{")
    text = ", ".join(form.format(v) for v in values)
    while text:
        cut = len(text) if len(text) < 130 else text.rindex(",", 0, 130) + 1
        out.append("    " + text[:cut])
        text = text[cut:].lstrip()
    out.append("};")


files = []


def file(name, data, pixels, tolerance):
    """pixels: [h, w, c]"""
    pixels = np.atleast_3d(pixels)
    array("uint8_t", name + "_file", data)
    array("uint8_t", name + "_pixels", pixels.transpose(2, 0, 1).reshape(-1))
    files.append(f"    {{\"{name}\", {name}_file, sizeof {name}_file, {name}_pixels, {pixels.shape[2]}, {tolerance}}},")


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def png(name, image, pixels=None):
    data = saved(image, format="PNG")
    file(name, data, np.array(Image.open(io.BytesIO(data))) if pixels is None else pixels, 0)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def adam7(pixels):
    raw = b""
    for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        part = pixels[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


grey = rng.integers(0, 256, (h, w), dtype=np.uint8)
rgb = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
rgba = rng.integers(0, 256, (h, w, 4), dtype=np.uint8)
png("grey", Image.fromarray(grey))
png("bits", Image.fromarray(grey).convert("1"), np.array(Image.fromarray(grey).convert("1")).astype(np.uint8) * 255)
wide = grey.astype(np.uint16) * 257
png("grey16", Image.fromarray(wide), grey)
png("grey_alpha", Image.fromarray(rgba[..., :2].copy(), "LA"))
png("rgb", Image.fromarray(rgb))
png("rgba", Image.fromarray(rgba))
few = Image.fromarray(rgb).quantize(5)
png("palette", few, np.array(few.convert("RGB")))
file("interlaced", adam7(rgb), np.array(Image.open(io.BytesIO(adam7(rgb)))), 0)
y, x = np.mgrid[0:h, 0:w]
smooth = np.stack([x * 28, y * 50, 255 - x * 14 - y * 20], 2).astype(np.uint8)


def jpeg(name, image, **options):
    data = saved(image, format="JPEG", **options)
    file(name, data, np.array(Image.open(io.BytesIO(data))), 3)


jpeg("jpeg_grey", Image.fromarray(smooth[..., 0].copy()))
jpeg("jpeg", Image.fromarray(smooth), quality=90)
jpeg("jpeg_progressive", Image.fromarray(smooth), quality=80, progressive=True)
array("uint8_t", "cmyk_file", saved(Image.fromarray(rgba, "CMYK"), format="JPEG"))
array("uint8_t", "rgb_as_grey", np.array(Image.fromarray(rgb).convert("L")).reshape(-1))
out += ["", f"enum {{ IMAGE_H = {h}, IMAGE_W = {w} }};", "static const struct image_file {", "    const char *name;",
        "    const uint8_t *file;", "    size_t size;", "    const uint8_t *pixels; /* [c, IMAGE_H, IMAGE_W] */", "    int c, tolerance;",
        "} image_files[] = {"] + files + ["};", ""]

# Resizing: a [1, 7, 10] of f64, and a u8 [1, 13, 11] whose result is that of its f32, rounded.
floats = torch.tensor(rng.standard_normal((1, 7, 10)))
bytes_ = torch.tensor(rng.integers(0, 256, (1, 13, 11), dtype=np.uint8))
array("double", "resize_in", floats.reshape(-1).tolist(), "{:.12g}")
array("uint8_t", "resize_in_u8", bytes_.reshape(-1).tolist())
cases = []
for i, size in enumerate([(7, 10), (3, 4), (11, 13), (1, 1), (2, 17), (9, 3)]):
    for antialias in (False, True):
        to = dict(size=size, mode="bilinear", align_corners=False, antialias=antialias)
        y = torch.nn.functional.interpolate(floats[None], **to)[0]
        y8 = torch.nn.functional.interpolate(bytes_[None].float(), **to)[0].round().to(torch.uint8)
        name = f"resize_{i}_{int(antialias)}"
        array("double", name, y.reshape(-1).tolist(), "{:.12g}")
        array("uint8_t", name + "_u8", y8.reshape(-1).tolist())
        cases.append(f"    {{{size[0]}, {size[1]}, {'true' if antialias else 'false'}, {name}, {name}_u8}},")
out += ["static const struct resize_case {", "    int h, w;", "    bool antialias;", "    const double *y;  /* [1, h, w] */",
        "    const uint8_t *y8; /* [1, h, w] */", "} resize_cases[] = {"] + cases + ["};", ""]
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "images.h"), "w").write("\n".join(out))
