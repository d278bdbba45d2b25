from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuraltuning.data.images import MAX_PIXELS, MAX_SIDE, open_image, validate_image
from neuraltuning.errors import InputError


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    right, bottom = image.width - 1, image.height - 1
    return [tuple(image.getpixel(at)) for at in ((0, 0), (right, 0), (0, bottom), (right, bottom))]  # type: ignore[arg-type]


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_image(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing: a decompression bomb's outside."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


def test_color_image_is_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    opened = open_image(save(Image.fromarray(pixels), tmp_path / "color.png"))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), pixels)


def test_grey_keeps_its_values_in_each_channel(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    opened = np.asarray(open_image(save(Image.fromarray(pixels), tmp_path / "grey.png")))
    np.testing.assert_array_equal(opened, np.repeat(pixels[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tiff", "ppm"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    pixels = np.array([[0, 257, 32_768, 65_535]], dtype=np.uint16)
    opened = np.asarray(open_image(save(Image.fromarray(pixels), tmp_path / f"deep.{suffix}")))
    assert opened[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_grey_is_read_by_its_range() -> None:
    unit = validate_image(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)), "The image")
    byte = validate_image(Image.fromarray(np.array([[0.0, 128.0, 255.0]], dtype=np.float32)), "The image")
    assert np.asarray(unit)[0, :, 0].tolist() == np.asarray(byte)[0, :, 0].tolist() == [0, 128, 255]


def test_wide_values_without_an_agreed_meaning_are_refused() -> None:
    with pytest.raises(InputError, match=r"The image holds values from -5 to 70000; save it with 8 or 16 bits"):
        validate_image(Image.fromarray(np.array([[-5, 70_000]], dtype=np.int32)), "The image")
    with pytest.raises(InputError, match="holds values"):
        validate_image(Image.fromarray(np.array([[np.nan, 1.0]], dtype=np.float32)), "The image")


def test_palette_and_bilevel(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    assert np.asarray(open_image(save(palette, tmp_path / "palette.png"))).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    bilevel = Image.new("1", (2, 1))
    bilevel.putdata([0, 255])
    assert np.asarray(open_image(save(bilevel, tmp_path / "bits.png"))).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_cmyk(tmp_path: Path) -> None:
    opened = open_image(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "print.jpg"))
    red, green, blue = corners(opened)[0]
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    if mode == "P":
        flat = Image.new("P", (3, 1), 0)
        flat.putpalette([0, 0, 0, 10, 10, 10])
        flat.putpixel((1, 0), 1)
        path = save(flat, tmp_path / "alpha.png", transparency=1)
    else:
        path = save(image.convert(mode), tmp_path / "alpha.png")
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [0, 255, 0]


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    opened = open_image(save(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), tmp_path / "half.png"))
    assert corners(opened)[0] == (127, 127, 127)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (0, 0, 32, 32))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half is the upper one
    opened = open_image(save(image, tmp_path / "turned.jpg", exif=exif, quality=95))
    assert opened.size == (32, 64)
    assert [pixel[0] > 128 for pixel in corners(opened)] == [True, True, False, False]


def test_photograph_with_its_preview_opens_as_the_photograph(tmp_path: Path) -> None:
    photograph, preview = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (8, 4), "blue")
    opened = open_image(save(photograph, tmp_path / "phone.mpo", save_all=True, append_images=[preview]))
    assert opened.size == (32, 16)
    assert corners(opened)[0][0] > 200


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_animated_is_refused_with_its_number_of_frames(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    path = save(frames[0], tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:])
    assert "holds 3 frames; save the one" in refusal(path)


def test_missing_empty_folder_and_no_image(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png").startswith("There is no image")
    (tmp_path / "empty.png").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    assert "is not a picture in a known format (PNG, JPEG" in refusal(tmp_path / "text.png")
    assert "is a folder" in refusal(tmp_path)


def test_formats_that_start_programs_are_not_opened(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8)), tmp_path / "script.eps")
    assert "is not a picture in a known format" in refusal(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_truncated_is_refused(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refusal(path)
    assert "is truncated or damaged" in message or "is not a picture" in message


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "gif"])
def test_damaged_bytes_are_opened_or_refused_but_never_crash(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / f"damaged.{suffix}", exif=exif)
    good = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    for _ in range(150):
        bad = good.copy()
        at = rng.integers(0, min(len(bad), 300), 4)
        bad[at] = rng.integers(0, 256, 4)
        path.write_bytes(bad.tobytes())
        try:
            assert open_image(path).mode == "RGB"
        except InputError as error:
            assert str(path) in str(error)


def test_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    for width, height in ((30_000, 10), (10, MAX_SIDE + 1), (9_000, 9_000), (16_000, 16_000), (60_000, 60_000)):
        path.write_bytes(png_header(width, height))
        assert f"scale it to at most 16,384 pixels a side and {MAX_PIXELS:,} pixels in all" in refusal(path)


def test_largest_allowed_side_opens(tmp_path: Path) -> None:
    assert open_image(save(Image.new("L", (MAX_SIDE, 2)), tmp_path / "long.png")).size == (MAX_SIDE, 2)


def test_image_without_pixels_and_no_image_at_all() -> None:
    with pytest.raises(InputError, match=r"The image has no pixels \(0 x 5\)"):
        validate_image(Image.new("RGB", (0, 5)), "The image")
    with pytest.raises(InputError, match="must be a Pillow image, but is of type str"):
        validate_image("cat.png", "The image")  # type: ignore[arg-type]
