"""Recipes of devices: telephones, printers, modems, instruments of measurement, cameras, zippers, paper."""

from __future__ import annotations

import numpy as np

from audio_pool.engines.procedural.canvas import FIRST_S, Canvas, Curve
from audio_pool.engines.procedural.grains import arch, burst, glide, modes, ping, texture
from audio_pool.engines.procedural.recipe import Character, recipe
from audio_pool.engines.procedural.spectra import Floats, band, peaks


def _pair(c: Canvas, one_hz: float, two_hz: float, seconds: float) -> Floats:
    """Return two pure tones at once, as telephones use them."""
    tones = [glide(c.rate, [(0.0, hz), (seconds, hz)], attack_s=0.004, release_s=0.006) for hz in (one_hz, two_hz)]
    return np.asarray(0.5 * (tones[0] + tones[1]), dtype=np.float32)


@recipe(
    keys="dial tone, dialtone, phone line, telephone line, busy signal, busy tone",
    near="receiver hang call",
    expects="noise",
    exact=True,
    summary="a dial tone",
)
def dial_tone(c: Canvas, p: Character) -> None:
    if p.kind == "busy":  # 480 and 620 Hz, half a second on and half a second off
        for at_s in c.pulse(1.0, start_s=FIRST_S):
            c.place(_pair(c, 480.0, 620.0, min(0.5, 0.9 * c.seconds)), at_s, 0.45)
        c.bed(band(300, 3400), 0.001, width=0.0)
        c.reflect(0.06)
        return
    c.tone(350.0, 0.16)  # the precise tone plan of North America: 350 and 440 Hz
    c.tone(440.0, 0.16)
    c.bed(band(300, 3400), 0.001, width=0.0)
    c.reflect(0.06)


_ROWS, _COLUMNS = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0)
"""Hz of a telephone's keys (ITU-T Q.23)."""


@recipe(
    keys="dtmf, phone dial, dial phone, touch tone, phone keypad, dial number, phone number, keypad, telephone dial,"
    "dialing",
    near="call phone digit",
    expects="silence",
    exact=True,
    summary="a telephone number dialled",
)
def dtmf(c: Canvas, p: Character) -> None:
    length, gap = 0.11 / p.speed, 0.08 / p.speed
    at_s, digits = FIRST_S, 0
    while at_s < c.last_s:
        sound = _pair(c, _ROWS[int(c.rng.integers(4))], _COLUMNS[int(c.rng.integers(3))], length)
        c.place(sound, at_s, 0.5)
        digits += 1
        at_s += length + gap + (0.9 / p.speed if digits % (p.count or 7) == 0 else float(c.rng.uniform(0, 0.06)))
    c.reflect(0.06)


@recipe(
    keys="telephone, telephone ring, phone ring, telephone bell,"
    "telephone bell ring, old telephone, rotary phone, ringtone, phone call, landline",
    near="call answer receiver office",
    expects="silence",
    summary="a telephone ringing",
)
def telephone(c: Canvas, p: Character) -> None:
    if p.kind == "electronic":
        _warble(c, p)
        return
    base = p.hz or p.low(1150.0) * float(c.rng.uniform(0.9, 1.12))
    gongs = [
        modes(c.rate, [hz, 2.32 * hz, 4.25 * hz, 6.63 * hz], [0.22, 0.14, 0.08, 0.05], [1.0, 0.7, 0.4, 0.2])
        for hz in (base, 1.19 * base)
    ]
    ring_s = min(2.0, 0.9 * c.seconds)
    for at_s in c.pulse(6.0 / p.speed, start_s=FIRST_S):  # 2 s on, 4 s off
        for k in range(round(ring_s * 25)):  # a clapper between two gongs, 25 strokes a second
            c.place(gongs[k % 2], at_s + k / 25, 0.16 * float(c.rng.uniform(0.85, 1.0)), -0.2 if k % 2 else 0.2)
    c.reflect(0.15)


def _warble(c: Canvas, p: Character) -> None:
    """Ring as an electronic telephone does: two notes in quick turns through a small loudspeaker."""
    low = p.hz or p.low(950.0) * float(c.rng.uniform(0.85, 1.2))
    each_s, rings_s = 1 / float(c.rng.uniform(18, 24)), min(1.6, 0.8 * c.seconds)
    for at_s in c.pulse(5.0 / p.speed, start_s=FIRST_S):
        points = []
        for k in range(max(2, round(rings_s / each_s))):
            hz = low * (1.25 if k % 2 else 1.0)
            points += [(k * each_s, hz), ((k + 0.96) * each_s, hz)]
        tone = glide(c.rate, points, partials=(1.0, 0.15, 0.4, 0.1, 0.2), attack_s=0.01, release_s=0.06)
        c.place(tone, at_s, 0.3)
    c.reflect(0.12)


@recipe(
    keys="modem, dial up, dialup, fax, fax machine, dial up modem, modem handshake, data transfer, fax modem",
    near="internet computer retro connection",
    expects="noise silence",
    summary="a modem connecting",
)
def modem(c: Canvas, p: Character) -> None:
    at_s = FIRST_S
    scale = 1.0 if c.seconds > 7 else c.seconds / 7.0
    if p.kind == "fax":  # who calls sends 1,100 Hz, who answers 2,100 Hz (ITU-T T.30), then they talk in 300 baud
        for hz, length, pause in ((1100.0, 0.5, 0.7), (2100.0, 2.6, 0.08)):
            c.place(_pair(c, hz, 2 * hz, length * scale), at_s, 0.02)
            c.place(glide(c.rate, [(0.0, hz), (length * scale, hz)]), at_s, 0.35)
            at_s += (length + pause) * scale
        bit_s, points = 1 / 300, []
        for k in range(int(1.2 * scale / bit_s)):
            hz = 1650.0 if c.rng.random() < 0.5 else 1850.0
            points += [(k * bit_s, hz), ((k + 0.9) * bit_s, hz)]
        c.place(glide(c.rate, points or [(0.0, 1650.0), (0.05, 1650.0)]), at_s, 0.35)
        at_s += (1.2 + 0.3) * scale
        c.reflect(0.06)
        _carrier(c, at_s, scale)
        return
    for _ in range(7):
        c.place(_pair(c, _ROWS[int(c.rng.integers(4))], _COLUMNS[int(c.rng.integers(3))], 0.07 * scale), at_s, 0.35)
        at_s += 0.12 * scale
    at_s += 0.35 * scale
    for hz, length in ((2100.0, 0.8), (1300.0, 0.35), (2250.0, 0.5), (980.0, 0.3), (1650.0, 0.45)):
        c.place(glide(c.rate, [(0.0, hz), (length * scale, hz)], partials=(1.0, 0.05)), at_s, 0.3)
        at_s += (length + 0.04) * scale
    _carrier(c, at_s, scale)
    c.reflect(0.06)


def _carrier(c: Canvas, at_s: float, scale: float) -> None:
    """Send data to the end: two carriers talk at once, and scrambled data is noise in their band."""
    while at_s < c.last_s:
        length = min(float(c.rng.uniform(0.5, 1.3)) * scale, c.seconds - at_s)
        data = texture(c.noise, c.rate, length, peaks([1200, 1800, 2400], 0.45, floor=0.02))
        ramp = min(len(data) // 3, round(0.02 * c.rate))
        data[:ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
        data[-ramp:] *= np.linspace(1, 0, ramp, dtype=np.float32)
        c.place(data, at_s, 0.7)
        c.place(_pair(c, 1200.0, 2400.0, length), at_s, 0.06)
        at_s += length


@recipe(
    keys="printer, dot matrix, dot matrix printer, printing, receipt printer",
    near="cash register office document page copy",
    expects="noise",
    covers=("paper",),
    summary="a printer printing",
)
def printer(c: Canvas, p: Character) -> None:
    line_s = c.beat_s(0.85 / p.speed, bar=1)
    pins_hz = p.hz or p.low(190.0) * float(c.rng.uniform(0.85, 1.2))
    for k in range(max(1, round(c.seconds / line_s))):
        at_s = FIRST_S + k * line_s
        length = 0.62 * line_s
        t = np.arange(round(length * c.rate), dtype=np.float32) / np.float32(c.rate)
        buzz = texture(c.noise, c.rate, length, peaks([1500, 3100, 5200], 0.3, floor=0.12))[: len(t)]
        gate = (np.sin(2 * np.pi * pins_hz * t) > 0.2) * (0.55 + 0.45 * (np.sin(2 * np.pi * 11 * t + k) > 0))
        head = np.asarray(buzz * gate * np.minimum(1, np.minimum(t / 0.01, (length - t) / 0.01)), dtype=np.float32)
        sweep = np.linspace(-0.7, 0.7, len(head), dtype=np.float32) * (1 if k % 2 else -1)
        c.place(np.stack([head * np.sqrt(0.5 * (1 - sweep)), head * np.sqrt(0.5 * (1 + sweep))]), at_s, 0.9)
        for step in range(5):  # the paper is fed
            c.place(ping(c.rate, p.low(420), 0.008), at_s + length + 0.03 * step, 0.25)
            c.place(burst(c.noise, c.rate, band(600, 4000), decay_s=0.004), at_s + length + 0.03 * step, 0.3)
    c.bed(band(150, 1500, tilt_db=-3), 0.006, width=0.7)


@recipe(
    keys="typewriter, type writer, typewriter key, old typewriter, type typewriter, carriage return",
    near="writer journalist newspaper letter",
    expects="silence",
    summary="a typewriter clattering",
)
def typewriter(c: Canvas, p: Character) -> None:
    bell = modes(c.rate, [p.low(2350), p.low(5100), p.low(8300)], [0.45, 0.2, 0.1], [1.0, 0.4, 0.15])
    at_s, struck, line = FIRST_S, 0, int(c.rng.integers(16, 24))
    while at_s < c.last_s:
        slug = float(c.rng.uniform(0.9, 1.12))
        hit = modes(
            c.rate,
            [p.low(310 * slug), p.low(870 * slug), p.low(2250 * slug), p.low(4100 * slug)],
            [0.022, 0.012, 0.008, 0.005],
            [0.7, 0.6, 0.5, 0.35],
        )
        c.place(hit, at_s, 0.35 * float(c.rng.uniform(0.7, 1.0)), float(c.rng.uniform(-0.3, 0.3)))
        c.place(burst(c.noise, c.rate, band(1200, 9000), attack_s=0.0003, decay_s=0.004), at_s, 0.75)
        c.place(burst(c.noise, c.rate, band(500, 3000), attack_s=0.001, decay_s=0.006), at_s + 0.045, 0.2)
        struck += 1
        at_s += float(np.exp(c.rng.normal(np.log(0.15), 0.3))) / p.speed
        if struck >= line and at_s < c.seconds - 1.0:
            c.place(bell, at_s, 0.25, 0.2)
            ratchet_s = 0.5 / p.speed
            for k in range(22):
                c.place(
                    burst(c.noise, c.rate, band(900, 6000), decay_s=0.003),
                    at_s + 0.25 + ratchet_s * k / 22,
                    0.3,
                    0.7 - 1.4 * k / 22,
                )
            c.place(ping(c.rate, p.low(190), 0.03), at_s + 0.25 + ratchet_s, 0.5, -0.6)
            at_s += 0.5 + ratchet_s
            struck, line = 0, int(c.rng.integers(16, 24))
    c.reflect(0.12)


@recipe(
    keys="camera, camera click, shutter click, camera shutter, photo, photograph, shutter, take picture,"
    "paparazzi, snapshot, polaroid",
    near="picture lens selfie flash",
    expects="decay silence",
    once=True,
    covers=("click",),
    summary="a camera shutter",
)
def camera(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(1.3 / p.speed, p.count, jitter=0.25):
        for start, hz, level in ((0.0, 900.0, 0.8), (0.028, 1500.0, 0.6), (0.085 / p.speed, 1150.0, 0.9)):
            body = modes(
                c.rate,
                [p.low(0.3 * hz), p.low(hz), p.low(2.3 * hz), p.low(4.1 * hz)],
                [0.014, 0.007, 0.005, 0.003],
                [0.6, 0.6, 0.5, 0.4],
            )
            c.place(body, at_s + start, 0.4 * level)
            c.place(
                burst(c.noise, c.rate, band(1800, 11_000), attack_s=0.0004, decay_s=0.006), at_s + start, 0.7 * level
            )
        whirr_s = 0.16 / p.speed  # the film is wound on
        t = np.arange(round(whirr_s * c.rate), dtype=np.float32) / np.float32(c.rate)
        whirr = np.sin(2 * np.pi * 310 * t) * 0.4 + np.sin(2 * np.pi * 930 * t) * 0.2
        air = texture(c.noise, c.rate, whirr_s, band(1500, 7000))[: len(t)]
        swell = arch(len(t), 0.7)
        c.place(np.asarray((whirr + air) * swell, dtype=np.float32), at_s + 0.1 / p.speed, 0.16)
    c.reflect(0.1)


@recipe(
    keys="zipper, zip, zip up, unzip, tent zipper, jacket zipper",
    near="jacket bag trousers tent velcro",
    expects="decay silence noise",
    once=True,
    summary="a zipper",
)
def zipper(c: Canvas, p: Character) -> None:
    for at_s in c.occasions(1.6 / p.speed, p.count, jitter=0.15, lasts_s=0.7):
        natural = float(c.rng.uniform(0.4, 0.65)) * p.size / p.speed
        length = natural * c.squeeze(natural)
        up = c.rng.random() < 0.5
        x = np.linspace(0, 1, 200)
        rate_hz = 140 * p.speed * (0.5 + 1.1 * np.sin(np.pi * x**0.8))  # the pull speeds up, then runs out
        turns = np.cumsum(rate_hz) * length / 200
        times = np.interp(np.arange(1, int(turns[-1])), turns, x * length)
        tooth = [
            modes(c.rate, [p.low(f), p.low(1.8 * f)], [0.002, 0.0014], [0.6, 0.6], attack_s=0.0002)
            for f in c.rng.uniform(2400, 3600, 6)
        ]
        for k, later in enumerate(times):
            x_now = k / len(times)
            drawn = np.float32(0.4 + 0.6 * (x_now if up else 1 - x_now))
            c.place(drawn * tooth[k % 6], at_s + float(later), 0.3 * float(c.rng.uniform(0.6, 1.0)), -0.2 + 0.4 * x_now)
        cloth = texture(c.noise, c.rate, length, band(1500, 9000))
        swell = arch(len(cloth), 0.8)
        c.place(np.asarray(cloth * swell, dtype=np.float32), at_s, 0.14)


@recipe(
    keys="paper, page, page turn, turn page, crumple, crumple paper, newspaper, rip paper, tear paper,"
    "rustle paper, book, rustle",
    near="read letter envelope wrap plastic bag foil wrapper",
    expects="noise silence",
    summary="paper rustling",
)
def paper(c: Canvas, p: Character) -> None:
    if p.kind in ("turn", "tear"):
        for at_s in c.pulse((2.4 if p.kind == "turn" else 1.6) / p.speed, jitter=0.2, start_s=FIRST_S)[: p.count]:
            (_turned if p.kind == "turn" else _torn)(c, p, at_s)
        c.reflect(0.1)
        return
    bank = [
        burst(c.noise, c.rate, band(f, 3 * f, tilt_db=-2), attack_s=0.0003, decay_s=float(c.rng.uniform(0.001, 0.005)))
        for f in c.rng.uniform(1100, 3600, 20)
    ]
    for at_s in c.pulse(1.25 / p.speed, jitter=0.3, start_s=FIRST_S):
        length = float(c.rng.uniform(0.35, 0.9))
        count = int(130 * p.intensity * length)
        # creases give way one after another, in bursts of their own
        times = at_s + length * np.sort(c.rng.beta(1.3, 1.8, count))
        c.sprinkle([float(t) for t in times], bank, gain=0.28, depth=0.9, spread=0.4)
        sheet = texture(c.noise, c.rate, length, band(800, 7000, tilt_db=-2))
        x = np.linspace(0, 1, len(sheet), dtype=np.float32)
        flap = np.sin(np.pi * x) * (0.6 + 0.4 * np.sin(2 * np.pi * float(c.rng.uniform(9, 16)) * length * x))
        c.place(np.asarray(sheet * flap, dtype=np.float32), at_s, 0.16, float(c.rng.uniform(-0.3, 0.3)))


def _turned(c: Canvas, p: Character, at_s: float) -> None:
    """Turn a page: it is lifted and bends, sweeps through the air, and lies down with a slap."""
    length = float(c.rng.uniform(0.45, 0.7)) * p.size / p.speed
    sweep = texture(c.noise, c.rate, length, band(1200, 9000, tilt_db=-2))
    x = np.linspace(0, 1, len(sweep), dtype=np.float32)
    pan = np.stack([np.cos(0.5 * np.pi * (1 - x)), np.sin(0.5 * np.pi * (1 - x))])
    flutter = 0.7 + 0.3 * np.sin(2 * np.pi * float(c.rng.uniform(14, 22)) * length * x)
    c.place(np.asarray(pan * (sweep * arch(len(x), 1.6, lean=0.8) * flutter), dtype=np.float32), at_s, 0.28)
    for part in np.sort(c.rng.beta(1.2, 3.0, 9)):
        crease = burst(c.noise, c.rate, band(1800, 9000), attack_s=0.0003, decay_s=0.002)
        c.place(crease, at_s + float(part) * length, 0.3 * float(c.rng.uniform(0.4, 1.0)), 0.3)
    slap = burst(c.noise, c.rate, band(p.low(300), 5000, tilt_db=-3), attack_s=0.002, decay_s=0.014)
    c.place(slap, at_s + 0.92 * length, 0.5, -0.3)


def _torn(c: Canvas, p: Character, at_s: float) -> None:
    """Tear a sheet: its fibres break one after the other, some hundreds a second, faster as the hands part."""
    length = float(c.rng.uniform(0.45, 0.9)) * p.size / p.speed
    bank = [
        burst(c.noise, c.rate, band(f, 12_000), attack_s=0.0002, decay_s=float(c.rng.uniform(0.0006, 0.0022)))
        for f in c.rng.uniform(900, 2600, 16)
    ]
    x = np.sort(c.rng.beta(1.6, 1.1, int(620 * length * p.intensity**0.5)))
    c.sprinkle([at_s + float(t) * length for t in x], bank, gain=0.26, depth=0.8, spread=0.25)
    sheet = texture(c.noise, c.rate, length, band(700, 4500, tilt_db=-2))
    c.place(np.asarray(sheet * arch(len(sheet), 0.6, lean=1.4), dtype=np.float32), at_s, 0.2)


@recipe(
    keys="sonar, sonar ping, submarine, submarine ping, active sonar",
    near="ocean depth navy scan",
    expects="decay silence",
    bar=1,
    summary="a sonar ping",
)
def sonar(c: Canvas, p: Character) -> None:
    hz = p.hz or p.low(1180.0) * float(c.rng.uniform(0.9, 1.12))
    every = p.beat_s(14.0)
    for at_s in c.occasions(every, p.count, jitter=0.0):
        pulse = glide(
            c.rate, [(0.0, 0.995 * hz), (0.12, hz), (0.3, hz)], partials=(1.0, 0.06), attack_s=0.01, release_s=0.2
        )
        c.place(pulse, at_s, 0.5)
        # the sea answers for seconds: reverberation at the same pitch, then one far echo
        tail = texture(c.noise, c.rate, 2.8, peaks([hz], 0.02))
        fade = np.exp(-np.linspace(0, 5.5, len(tail), dtype=np.float32)) * np.minimum(
            1, np.linspace(0, 40, len(tail), dtype=np.float32)
        )
        for pan in (-0.7, 0.7):
            c.place(np.asarray(np.roll(tail, int(300 * (1 + pan))) * fade, dtype=np.float32), at_s + 0.08, 0.28, pan)
        c.place(pulse, at_s + float(c.rng.uniform(1.1, 1.6)), 0.06, 0.5)


@recipe(
    keys="geiger, geiger counter, radiation, radioactive, geiger click",
    near="nuclear fallout detector",
    expects="silence",
    summary="a Geiger counter clicking",
)
def geiger(c: Canvas, p: Character) -> None:
    hz = p.low(2900.0) * float(c.rng.uniform(0.9, 1.1))
    tick = modes(c.rate, [hz, 1.7 * hz], [0.0025, 0.0012], [1.0, 0.5], attack_s=0.0002)
    snap = burst(c.noise, c.rate, band(1500, 12_000), attack_s=0.0002, decay_s=0.0012)
    rate_hz = 9.0 * p.intensity**2 * p.speed
    for at_s in c.scatter(rate_hz, first_s=FIRST_S):  # decays are a Poisson process
        c.place(tick, at_s, 0.5)
        c.place(snap, at_s, 0.5)
    c.reflect(0.08)


@recipe(
    keys="robot, robotic, android, servo, computer beep, computer processing, sci fi computer, droid,"
    "spaceship computer,"
    "scifi interface, robot voice, robot talk",
    near="futuristic artificial cyber machine space",
    expects="silence",
    summary="a robot chattering",
)
def robot(c: Canvas, p: Character) -> None:
    at_s = FIRST_S
    while at_s < c.last_s:
        for _ in range(0 if p.kind == "servo" else int(c.rng.integers(3, 9))):
            length = float(c.rng.choice([0.05, 0.08, 0.12, 0.2])) / p.speed
            one, two = np.exp(c.rng.uniform(np.log(350), np.log(2600), 2)) * p.low(1.0)
            slides = p.kind != "computer" and c.rng.random() < 0.6  # a computer's beeps keep their pitch
            points = [(0.0, float(one)), (length, float(two if slides else one))]
            c.place(
                glide(c.rate, points, partials=(1.0, 0.2, 0.35, 0.1, 0.2), release_s=0.012),
                at_s,
                0.26,
                float(c.rng.uniform(-0.3, 0.3)),
            )
            at_s += length * float(c.rng.uniform(1.05, 1.5))
        if p.kind == "computer":
            at_s += float(c.rng.uniform(0.2, 0.7)) / p.speed
            continue
        servo_s = float(c.rng.uniform(0.25, 0.5)) / p.speed
        low = p.low(float(c.rng.uniform(180, 260)))
        motor = glide(
            c.rate,
            [(0.0, 0.6 * low), (0.15, low), (servo_s - 0.08, 1.05 * low), (servo_s, 0.5 * low)],
            partials=[1 / k**0.8 for k in range(1, 15)],
            attack_s=0.03,
            release_s=0.05,
        )
        c.place(motor, at_s, 0.12)
        at_s += servo_s + float(c.rng.uniform(0.15, 0.6)) / p.speed
    c.reflect(0.1)


@recipe(
    keys="electricity, electric, spark, electric spark, zap electric, tesla coil, electric arc, short circuit, shock,"
    "electric shock, taser, arcing",
    near="power high voltage wire energy welding",
    expects="noise silence",
    summary="electric sparks arcing",
)
def electricity(c: Canvas, p: Character) -> None:
    mains = p.hz or p.low(100.0)
    for at_s in c.pulse(0.85 / p.speed, jitter=0.4, start_s=FIRST_S):
        length = float(c.rng.uniform(0.12, 0.5)) * p.size
        strikes = np.sort(c.rng.uniform(0, length, int(mains * length)))
        bank = [
            burst(c.noise, c.rate, band(f, 11_000, tilt_db=-3), attack_s=0.0002, decay_s=0.0016)
            for f in (900, 1800, 3000)
        ]
        c.sprinkle([at_s + float(t) for t in strikes], bank, gain=0.6, depth=0.8, spread=0.5)
        c.place(burst(c.noise, c.rate, band(400, 9000), attack_s=0.0003, decay_s=0.01), at_s, 1.0)
    hum = c.swells(0.4, 0.5)
    c.tone(mains, Curve(0.005 * hum.points), [1 / k**0.5 for k in range(1, 20)])
