from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from engine.errors import ImageError
from ingest.decode import decode

RED, BLUE, GREEN, WHITE = (200, 30, 40), (20, 60, 190), (30, 160, 60), (255, 255, 255)


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Four corners in four colours: any turn shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height // 2))
    image.paste(GREEN, (0, height // 2, width // 2, height))
    image.paste((240, 220, 30), (width // 2, height // 2, width, height))
    return image


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def distance(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).mean())


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_every_exif_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = photo() if turn is None else photo().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(packed(stored, kind, exif=exif.tobytes()))
    assert distance(upright, photo()) < 8
    assert upright.getexif().get(0x0112) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_every_format_gives_the_same_rgb_pixels(kind: str) -> None:
    image = decode(packed(photo(), kind))
    assert (type(image), image.mode, image.info) == (Image.Image, "RGB", {"full_size": image.size})
    assert distance(image, photo()) < 8


def test_the_content_decides_and_not_the_name(tmp_path: Any) -> None:
    path = tmp_path / "really-a-jpeg.png"
    path.write_bytes(packed(photo(), "JPEG", quality=95))
    assert distance(decode(path.read_bytes()), photo()) < 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 4, 8))
    data = packed(clear.convert(mode), "TIFF") if mode == "PA" else packed(clear.convert(mode))
    image = decode(data)
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert image.getpixel((7, 7)) == WHITE


def test_half_transparency_is_half_white() -> None:
    assert decode(packed(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))).getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 4, 8))
    assert decode(packed(image, transparency=0)).getpixel((0, 0)) == WHITE
    assert decode(packed(image, transparency=0)).getpixel((7, 0)) == (200, 100, 50)
    assert decode(packed(image, transparency=bytes([128, 255]))).getpixel((0, 0)) == (132, 137, 142)
    assert decode(packed(image, "GIF", transparency=0)).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize(("mode", "clear", "other"), [("RGB", (0, 0, 0), RED), ("L", 0, 77), ("1", 0, 1)])
def test_a_transparent_colour_without_alpha_is_white(mode: str, clear: Any, other: Any) -> None:
    image = Image.new(mode, (8, 8), other)
    image.paste(clear, (0, 0, 4, 8))
    decoded = decode(packed(image, transparency=clear))
    assert decoded.getpixel((0, 0)) == WHITE
    assert decoded.getpixel((7, 0)) == image.convert("RGB").getpixel((7, 0))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("L", "JPEG"), ("P", "GIF"), ("P", "BMP")),
        *(("YCbCr", "TIFF"), ("LAB", "TIFF"), ("CMYK", "TIFF"), ("CMYK", "JPEG")),
    ],
)
def test_every_mode_comes_out_in_its_colours(mode: str, kind: str) -> None:
    if mode == "LAB":
        way = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = way.apply(photo())
    else:
        image = photo().convert(mode)
    expected = photo().convert(mode).convert("RGB") if mode in ("1", "L", "P") else photo()
    decoded = decode(packed(image, kind))
    assert decoded.mode == "RGB"
    assert distance(decoded, expected) < 8


def test_cmyk_is_read_as_adobe_writes_it_and_without_its_marker_as_it_stands() -> None:
    adobe = packed(photo().convert("CMYK"), "JPEG", quality=95)
    start = adobe.index(b"\xff\xee")
    length = int.from_bytes(adobe[start + 2 : start + 4], "big")
    plain = adobe[:start] + adobe[start + 2 + length :]
    assert distance(decode(adobe), photo()) < 8
    assert distance(decode(plain), decode(packed(ImageChops.invert(photo().convert("CMYK")), "JPEG", quality=95))) < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = np.asarray(decode(packed(Image.fromarray(ramp), kind)))
    np.testing.assert_array_equal(decoded[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 1e9])
def test_floating_point_levels_are_scaled_to_their_range(top: float) -> None:
    ramp = np.linspace(0, top, 256).astype(np.float32).reshape(16, 16)
    decoded = np.asarray(decode(packed(Image.fromarray(ramp), "TIFF")))
    np.testing.assert_allclose(decoded[..., 0].ravel(), np.arange(256), atol=1)


def test_integers_of_32_bits_and_values_that_are_no_numbers_are_scaled() -> None:
    deep = np.array([[0, 2_000_000_000], [1_000_000_000, -5]], dtype=np.int32)
    assert np.asarray(decode(packed(Image.fromarray(deep), "TIFF")))[..., 0].tolist() == [[0, 255], [128, 0]]
    holes = np.array([[np.nan, 1.0], [np.inf, 0.5]], dtype=np.float32)
    assert np.asarray(decode(packed(Image.fromarray(holes), "TIFF")))[..., 0].tolist() == [[0, 255], [0, 128]]


def test_sixteen_bit_grey_with_a_transparent_level_is_white_there() -> None:
    data = packed(Image.fromarray(np.array([[0, 65535], [300, 0]], dtype=np.uint16)))
    with_level = data[:33] + chunk(b"tRNS", struct.pack(">H", 300)) + data[33:]
    assert np.asarray(decode(with_level))[..., 0].tolist() == [[0, 255], [255, 0]]


def swapped_channels_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged: without conversion, the colours are wrong."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        name = bytes(profile[at : at + 4])
        if name in (b"rXYZ", b"gXYZ"):
            profile[at : at + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_icc_profile_is_converted_to_srgb(kind: str) -> None:
    red, green, blue = photo().split()
    exchanged = Image.merge("RGB", (green, red, blue))
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    decoded = decode(packed(exchanged, kind, icc_profile=swapped_channels_profile(), **options))
    assert distance(decoded, photo()) < 8
    assert "icc_profile" not in decoded.info


def test_an_icc_profile_is_applied_beneath_transparency_and_palettes() -> None:
    red, green, blue = photo().split()
    exchanged = Image.merge("RGB", (green, red, blue))
    see_through = exchanged.convert("RGBA")
    see_through.putalpha(Image.new("L", see_through.size, 255))
    for image in (see_through, exchanged.quantize(8)):
        assert distance(decode(packed(image, icc_profile=swapped_channels_profile())), photo()) < 8


def test_a_broken_or_unfitting_icc_profile_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"no profile at all", swapped_channels_profile()[:200], lab):
        assert distance(decode(packed(photo(), icc_profile=profile)), photo()) == 0
    grey = photo().convert("L")
    assert distance(decode(packed(grey, icc_profile=swapped_channels_profile())), grey.convert("RGB")) == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    data = packed(photo(), kind, save_all=True, append_images=[Image.new("RGB", (48, 32), BLUE)] * 2)
    assert distance(decode(data), photo()) < 8


def test_a_jpeg_of_several_pictures_gives_the_first() -> None:
    assert distance(decode(packed(photo(), "MPO", save_all=True, append_images=[photo().rotate(180)])), photo()) < 8


@pytest.mark.parametrize(
    ("size", "target", "expected"), [((800, 1200), 100, (200, 300)), ((800, 1200), 64, (200, 300))]
)
def test_a_large_jpeg_is_decoded_smaller_for_a_small_target(
    size: tuple[int, int], target: int, expected: tuple[int, int]
) -> None:
    assert decode(packed(photo(*size), "JPEG"), target=target).size == expected


@pytest.mark.parametrize("width", [447, 448, 750, 895, 896, 897, 1791, 1792, 5000])
def test_no_jpeg_is_decoded_below_twice_the_target(width: int) -> None:
    reduced = decode(packed(photo(width, width + 100), "JPEG"), target=224)
    assert min(reduced.size) >= min(448, width)
    assert decode(packed(photo(width, width + 100), "JPEG")).size == (width, width + 100)


def test_a_reduced_jpeg_is_resized_to_nearly_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 255, (30, 20, 3), dtype=np.uint8)).resize(
        (800, 1200), Image.Resampling.BICUBIC
    )
    data = packed(scene, "JPEG", quality=92)
    small = [decode(data, target=target).resize((64, 96), Image.Resampling.BICUBIC) for target in (None, 64)]
    assert distance(*small) < 1.5


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageError, match=r"60000 x 60000: 3\.6 gigapixels, more than the cap of 100 megapixels"):
        decode(png(60_000, 60_000, chunk(b"IDAT", zlib.compress(b""))))


def test_the_cap_can_be_moved() -> None:
    with pytest.raises(ImageError, match="48 x 32: 1536 pixels, more than the cap of 1535 pixels"):
        decode(packed(photo()), max_pixels=1535)
    assert decode(packed(photo()), max_pixels=1536).size == (48, 32)


def test_one_pixel_is_a_photograph_and_a_thread_is_none() -> None:
    assert decode(packed(Image.new("RGB", (1, 1), RED))).getpixel((0, 0)) == RED
    assert decode(packed(Image.new("RGB", (1, 1000), RED))).size == (1, 1000)
    with pytest.raises(ImageError, match="1 x 60000 pixels: more than 1000 times as long as wide"):
        decode(packed(Image.new("RGB", (1, 60_000), RED)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_called_truncated(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = packed(noise, kind)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"id,gender\n1,Men\n", r"not an image \(text\)"),
        ("Größe: 38\n".encode() * 900, r"not an image \(text\)"),
        (b"<!DOCTYPE html><html>404</html>", r"not an image \(web page\)"),
        (b"<?xml version='1.0'?><svg/>", r"not an image \(SVG drawing\)"),
        (b"%PDF-1.7 ...", r"not an image \(PDF\)"),
        (b"\x00" * 3000, r"not an image \(nothing but zeros\)"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", r"not an image \(video\)"),
        (bytes(range(256)) * 4, r"not an image \(unknown format\)"),
        (b"BM is how this text begins", r"not an image \(text\)"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(data)


def test_heic_names_the_extra_that_reads_it() -> None:
    data = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 64
    try:
        import pi_heif  # noqa: F401

        expected = "HEIC"
    except ImportError:
        expected = r"HEIC needs an extra: pip install 'fashion-search-engine\[heic\]'"
    with pytest.raises(ImageError, match=expected):
        decode(data)


def test_an_avif_with_a_general_brand_is_not_taken_for_heic() -> None:
    data = packed(photo(), "AVIF")
    assert distance(decode(data.replace(b"ftypavif", b"ftypmif1", 1)), photo()) < 8


def test_no_warning_of_pillow_leaks() -> None:
    large = packed(Image.new("1", (9_500, 9_500)))  # Image.open() warns of more than 89 megapixels
    broken_exif = packed(photo(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00\x12\x01")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode(large).size == (9_500, 9_500)
        assert distance(decode(broken_exif), photo()) < 8
    assert caught == []


def test_many_threads_decode_as_one_does() -> None:
    files = [packed(photo(40 + i, 30), kind) for i in range(6) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF")]
    files += [packed(photo(), icc_profile=swapped_channels_profile())] * 8
    alone = [decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert [image.tobytes() for image in pool.map(decode, files * 4)] == alone * 4


SEEDS = [packed(photo(), kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP")]
SEEDS += [packed(photo(), "TIFF", compression="tiff_lzw"), packed(photo().convert("CMYK"), "JPEG")]
SEEDS += [packed(photo(), "JPEG", icc_profile=swapped_channels_profile(), progressive=True)]
SEEDS += [
    packed(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))),
    packed(photo().quantize(4), transparency=0),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400), st.sampled_from([b"", *(seed[:16] for seed in SEEDS)]))
def test_random_bytes_only_ever_give_an_image_or_an_image_error(data: bytes, head: bytes) -> None:
    try:
        assert decode(head + data, max_pixels=1_000_000).mode == "RGB"
    except ImageError as error:
        assert 0 < len(str(error)) < 200


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_photographs_only_ever_give_an_image_or_an_image_error(
    seed: bytes, flips: list[tuple[float, int]]
) -> None:
    damaged = bytearray(seed)
    for place, value in flips:
        damaged[int(place**3 * (len(damaged) - 1))] ^= value  # most of them in the header
    try:
        assert decode(bytes(damaged), max_pixels=1_000_000).mode == "RGB"
    except ImageError as error:
        assert 0 < len(str(error)) < 200


def test_a_reduced_photograph_remembers_its_full_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 1200), "navy").save(buffer, "JPEG", exif=exif.tobytes())
    image = decode(buffer.getvalue(), target=80)
    assert image.size == (300, 400)
    assert image.info["full_size"] == (1200, 1600)
