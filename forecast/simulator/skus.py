"""What a server of each kind is made of. Each number has its source: a section of constants.md, [K] or [D] as there."""

from dataclasses import dataclass

from forecast.contracts.errors import ConfigError


@dataclass(frozen=True)
class Sku:
    """One kind of server.

    Attributes:
        die_count: governed dies (GPUs, or CPU sockets) per server.
        die_idle_w, die_peak_w: power of one die at utilisation 0 and 1.
        rest_idle_w, rest_peak_w: everything else on the board, without fans.
        fan_peak_w: fans at full speed; power follows the cube of flow.
        nameplate_w: rating on the label, at the wall.
        max_operating_c, slowdown_c: the governed limit, and where hardware cuts clocks.
        die_sink_k_per_w, sink_supply_k_per_w: thermal resistances, the second at full flow.
        die_tau_s, sink_tau_s, chassis_tau_s: time constants, the second at full flow.
        downstream_k: extra inlet of the last die in the stream at peak power.
        approach_low_k, approach_high_k: rack inlet (or CDU outlet) above the hall's supply.
        liquid: cooled by the coolant loop instead of hall air.
        whole_rack: scheduled a rack at a time, for synchronous training; otherwise a server at a time.
    """

    die_count: int
    die_idle_w: float
    die_peak_w: float
    rest_idle_w: float
    rest_peak_w: float
    fan_peak_w: float
    nameplate_w: float
    max_operating_c: float
    slowdown_c: float
    die_sink_k_per_w: float
    sink_supply_k_per_w: float
    die_tau_s: float
    sink_tau_s: float
    chassis_tau_s: float
    downstream_k: float
    approach_low_k: float
    approach_high_k: float
    liquid: bool
    whole_rack: bool


SKUS = {
    # DGX H100 class: 8 boards of 101-700 W (§2 H100 SXM). Rest and fans [D] bring the measured maximum of §3, 8.4 kW
    # at the wall, against a rating of 10.2 kW (§3).
    "h100-air": Sku(
        die_count=8,
        die_idle_w=101.0,
        die_peak_w=700.0,
        rest_idle_w=900.0,
        rest_peak_w=1500.0,
        fan_peak_w=600.0,
        nameplate_w=10_200.0,
        max_operating_c=87.0,  # §2
        slowdown_c=89.0,  # §2
        die_sink_k_per_w=0.025,  # [D] with the sink 0.067 K/W, between B200's 0.04 and the PCIe cards' 0.10 of §2
        sink_supply_k_per_w=0.042,
        die_tau_s=2.0,  # §5 die→sink 1-3 s
        sink_tau_s=60.0,  # §5 air sink 30-90 s
        chassis_tau_s=180.0,  # §5 server air path 100-290 s
        downstream_k=3.5,  # §2
        approach_low_k=3.8,  # §5 rack approach
        approach_high_k=5.3,
        liquid=False,
        whole_rack=True,
    ),
    # DGX B200 class: 8 boards of 1,000 W (§2 B200) in a chassis rated 14.3 kW that moves 1,550 CFM (§3). The rest and
    # the fans [D] leave the margin to the rating that the older chassis leaves.
    "b200-air": Sku(
        die_count=8,
        die_idle_w=195.0,  # §2 B200 187-204 W
        die_peak_w=1000.0,  # §2
        rest_idle_w=1100.0,
        rest_peak_w=1900.0,
        fan_peak_w=1000.0,
        nameplate_w=14_300.0,  # §3
        max_operating_c=88.0,  # §2 B200
        slowdown_c=91.0,  # §2 B200
        die_sink_k_per_w=0.018,  # [D] together R ≈ 0.04 K/W: 61 °C at 20 °C inlet in GEMM (§2)
        sink_supply_k_per_w=0.022,
        die_tau_s=2.0,
        sink_tau_s=60.0,
        chassis_tau_s=180.0,
        downstream_k=3.5,  # §2
        approach_low_k=3.8,
        approach_high_k=5.3,
        liquid=False,
        whole_rack=True,
    ),
    # One of 18 compute trays of an NVL72 rack: 4 GPUs and 2 CPUs; switch trays and shelves are shared out [D] so that
    # a rack draws the ~120 kW of §3. Label: 132 kW of power shelves over 18 trays (§3).
    "gb200-tray": Sku(
        die_count=4,
        die_idle_w=195.0,  # §2 B200 187-204 W
        die_peak_w=1000.0,  # §2
        rest_idle_w=1100.0,
        rest_peak_w=2200.0,
        fan_peak_w=60.0,  # [K] a few fans remain for memory and network cards
        nameplate_w=7_333.0,
        max_operating_c=88.0,  # §2 B200
        slowdown_c=91.0,  # §2 B200
        die_sink_k_per_w=0.020,  # §2 R ≈ 0.04 K/W in all
        sink_supply_k_per_w=0.022,
        die_tau_s=2.0,
        sink_tau_s=10.0,  # §5 cold plate 5-15 s
        chassis_tau_s=60.0,  # [D] loop transport: a few litres per tray at 1.5 L/min/kW (§3)
        downstream_k=3.5,
        approach_low_k=3.0,  # §5 CDU approach 3-5 K
        approach_high_k=5.0,
        liquid=True,
        whole_rack=True,
    ),
    # Two sockets of 90-280 W, memory 74 W and network 20 W as on a Frontier node (§3); board and fans [K].
    "cpu-2s": Sku(
        die_count=2,
        die_idle_w=90.0,
        die_peak_w=280.0,
        rest_idle_w=90.0,
        rest_peak_w=150.0,
        fan_peak_w=60.0,
        nameplate_w=1_000.0,
        max_operating_c=90.0,  # [K] below the 95-100 °C at which server CPUs throttle
        slowdown_c=95.0,  # [K]
        die_sink_k_per_w=0.06,  # [D] the PCIe cards' median of 0.145 K/W (§2), a little more for a socket
        sink_supply_k_per_w=0.10,
        die_tau_s=2.0,
        sink_tau_s=60.0,
        chassis_tau_s=180.0,
        downstream_k=3.5,
        approach_low_k=3.8,
        approach_high_k=5.3,
        liquid=False,
        whole_rack=False,
    ),
}


def sku(name: str) -> Sku:
    """Return the SKU called `name`, or say which exist."""
    if name not in SKUS:
        raise ConfigError(f"source.fleet: unknown SKU {name!r}; known are {', '.join(SKUS)}.")
    return SKUS[name]
