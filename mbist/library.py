"""March tests of the literature, and how users add theirs: a line of text each."""

from collections.abc import Iterable

from .notation import March, parse_line

#: Pauses are a millisecond at 1.4 GHz; how long a cell must be left alone is a matter of the technology.
_LINES = """
MATS: {c(w0); c(r0,w1); c(r1)} # Nair, IEEE TC 28(3), 1979
MATS+: {c(w0); u(r0,w1); d(r1,w0)} # Abadir and Reghbati, ACM Computing Surveys 15(3), 1983
MATS++: {c(w0); u(r0,w1); d(r1,w0,r0)} # van de Goor, Testing Semiconductor Memories, Wiley 1991
March X: {c(w0); u(r0,w1); d(r1,w0); c(r0)} # van de Goor 1991
March Y: {c(w0); u(r0,w1,r1); d(r1,w0,r0); c(r0)} # van de Goor 1991
March C: {c(w0); u(r0,w1); u(r1,w0); c(r0); d(r0,w1); d(r1,w0); c(r0)} # Marinescu, ITC 1982
March C-: {c(w0); u(r0,w1); u(r1,w0); d(r0,w1); d(r1,w0); c(r0)} # van de Goor 1991
March C+: {c(w0); u(r0,w1,r1); u(r1,w0,r0); d(r0,w1,r1); d(r1,w0,r0); c(r0)} # van de Goor 1991
March A: {c(w0); u(r0,w1,w0,w1); u(r1,w0,w1); d(r1,w0,w1,w0); d(r0,w1,w0)} # Suk and Reddy, IEEE TC 30(12), 1981
March B: {c(w0); u(r0,w1,r1,w0,r0,w1); u(r1,w0,w1); d(r1,w0,w1,w0); d(r0,w1,w0)} # Suk and Reddy 1981
March U: {c(w0); u(r0,w1,r1,w0); u(r0,w1); d(r1,w0,r0,w1); d(r1,w0)} # van de Goor and Gaydadjiev, IEE CDS 144(3), 1997
March LR: {c(w0); d(r0,w1); u(r1,w0,r0,w1); u(r1,w0); u(r0,w1,r1,w0); u(r0)} # van de Goor et al., VTS 1996
March LA: {c(w0); u(r0,w1,w0,w1,r1); u(r1,w0,w1,w0,r0); d(r0,w1,w0,w1,r1); d(r1,w0,w1,w0,r0); d(r0)} # van de Goor et al., ATS 1999
March SR: {d(w0); u(r0,w1,r1,w0); u(r0,r0); u(w1); d(r1,w0,r0,w1); d(r1,r1)} # Hamdioui and van de Goor, ATS 2000
March SS: {c(w0); u(r0,r0,w0,r0,w1); u(r1,r1,w1,r1,w0); d(r0,r0,w0,r0,w1); d(r1,r1,w1,r1,w0); c(r0)} # Hamdioui, van de Goor and Rodgers, MTDT 2002
March MSS: {c(w0); u(r0,r0,w1,w1); u(r1,r1,w0,w0); d(r0,r0,w1,w1); d(r1,r1,w0,w0); c(r0)} # Harutunyan, Vardanian and Zorian, ETS 2005
March RAW: {c(w0); u(r0,w0,r0,r0,w1,r1); u(r1,w1,r1,r1,w0,r0); d(r0,w0,r0,r0,w1,r1); d(r1,w1,r1,r1,w0,r0); c(r0)} # Hamdioui, Al-Ars and van de Goor, VTS 2002
March AB: {c(w1); d(r1,w0,r0,w0,r0); d(r0,w1,r1,w1,r1); u(r1,w0,r0,w0,r0); u(r0,w1,r1,w1,r1); c(r1)} # Bosio, Di Carlo, Di Natale and Prinetto, ITC 2005
March SL: {c(w0); u(r0,r0,w1,w1,r1,r1,w0,w0,r0,w1); u(r1,r1,w0,w0,r0,r0,w1,w1,r1,w0); d(r0,r0,w1,w1,r1,r1,w0,w0,r0,w1); d(r1,r1,w0,w0,r0,r0,w1,w1,r1,w0)} # Hamdioui, Al-Ars, van de Goor and Rodgers, IEEE TCAD 23(5), 2004
March MSL: {c(w0); u(r0,w1,w1,r1,r1,w0); u(r0,w0); u(r0); u(r0,w1); u(r1,w0,w0,r0,r0,w1); u(r1,w1); u(r1); d(r1,w0)} # Harutunyan, Vardanian and Zorian, VTS 2006
March G: {c(w0); u(r0,w1,r1,w0,r0,w1); u(r1,w0,w1); d(r1,w0,w1,w0); d(r0,w1,w0); del(1400000); c(r0,w1,r1); del(1400000); c(r1,w0,r0)} # van de Goor 1991
March PS: {c(w0); u(r0,w1,r1,w0,r0,w1); u(r1,w0,r0,w1,r1); u(r1,w0,r0,w1,r1,w0); u(r0,w1,r1,w0,r0)} # Yarmolik, Klimets and Demidenko, MTDT 1998
PMOVI: {d(w0); u(r0,w1,r1); u(r1,w0,r0); d(r0,w1,r1); d(r1,w0,r0)} # De Jonge and Smeulders, Computer Design 15(5), 1976
IFA-9: {c(w0); u(r0,w1); u(r1,w0); d(r0,w1); d(r1,w0); del(1400000); c(r0,w1); del(1400000); c(r1)} # Dekker, Beenker and Thijssen, IEEE TCAD 9(6), 1990
IFA-13: {c(w0); u(r0,w1,r1); u(r1,w0,r0); d(r0,w1,r1); d(r1,w0,r0); del(1400000); c(r0,w1); del(1400000); c(r1)} # Dekker et al. 1990
March K: {c(w0); u(k0,r0,w1); u(k1,r1,w0); d(k0,r0,w1); d(k1,r1,w0); c(r0)} # this project: as March C-, and every row computes
March 2A: {c(-:w0); u(r0:w0,r0:-,r0:w1); u(r1:w1,r1:-,r1:w0); d(r0:w0,r0:-,r0:w1); d(r1:w1,r1:-,r1:w0); c(r0:-)} # this project: both ports at one address
March 2B: {c(-:w0,-:w0_b); c(r0:w0_b,r0_b:-,r0:w1_b,r1_b:-,r0:w1_b,r1_b:-,r0:w0_b,r0_b:-,r0:-,-:w1); c(r1:w0_b,r0_b:-,r1:w1_b,r1_b:-,r1:w1_b,r1_b:-,r1:w0_b,r0_b:-,r1:-)} # this project: one bank computes while the other is loaded
"""  # noqa: E501


def read_library(lines: Iterable[str]) -> dict[str, March]:
    """March tests by name, from lines ``name: test # source``; empty lines and lines that begin with ``#`` say nothing.

    Raises
    ------
    NotationError
        If a line is no test.
    ValueError
        If two tests have one name.
    """
    tests: dict[str, March] = {}
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            march = parse_line(line)
            if march.name in tests:
                raise ValueError(f"a library must have one test of a name, not two called {march.name!r}")
            tests[march.name] = march
    return tests


#: The library by name, in the order in which the tests came up.
LIBRARY = read_library(_LINES.splitlines())
