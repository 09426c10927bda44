#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints "PASSED FAILED SKIPPED" of JUnit files, ctest's or googletest's."""
import sys
import xml.etree.ElementTree as ElementTree


def main() -> int:
    total = failed = skipped = 0
    for path in sys.argv[1:]:
        root = ElementTree.parse(path).getroot()
        for suite in root.iter("testsuite"):
            total += int(suite.get("tests", "0"))
            failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
            skipped += int(suite.get("skipped", "0")) + int(suite.get("disabled", "0"))
    print(total - failed - skipped, failed, skipped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
