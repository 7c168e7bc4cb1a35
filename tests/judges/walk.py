"""Walks hives with a reader that is not Deblast's: every key, every value, all of its data. For scripts/judge.

usage: walk.py python-registry|libregf HIVE...
A line for each hive: its path, a tab, and "accepted" or "refused", another tab and why. Exit code 2: the reader is not there.
"""

import sys

DEEPEST = 512  # levels of keys that Windows loads


def walk_python_registry(path):
    from Registry import Registry, RegistryParse

    registry = Registry.Registry(path)
    pending = [(registry.root(), 1)]
    while pending:
        key, depth = pending.pop()
        if depth > DEEPEST:
            raise ValueError("more than %d levels of keys" % DEEPEST)
        key.name()
        key.timestamp()
        try:
            values = key.values()
        except RegistryParse.RegistryStructureDoesNotExist:
            values = []  # so it says that a key has none
        for value in values:
            value.name()
            value.raw_data()
        pending.extend((subkey, depth + 1) for subkey in key.subkeys())


def walk_libregf(path):
    import pyregf

    hive = pyregf.file()
    hive.open(path)
    try:
        if hive.is_corrupted():
            raise ValueError("it says that the hive is corrupted")
        pending = [(hive.get_root_key(), 1)]
        while pending:
            key, depth = pending.pop()
            if depth > DEEPEST:
                raise ValueError("more than %d levels of keys" % DEEPEST)
            key.get_name()
            # not is_corrupted of a key: this version says so of most keys of hives that Windows itself wrote
            for index in range(key.get_number_of_values()):
                value = key.get_value(index)
                value.get_name()
                if value.is_corrupted():
                    raise ValueError("it says that the value %r is corrupted" % value.get_name())
                if value.get_data_size():
                    value.get_data()
            for index in range(key.get_number_of_sub_keys()):
                pending.append((key.get_sub_key(index), depth + 1))
    finally:
        hive.close()


def main():
    judge, hives = sys.argv[1], sys.argv[2:]
    walk = {"python-registry": walk_python_registry, "libregf": walk_libregf}[judge]
    try:
        __import__({"python-registry": "Registry", "libregf": "pyregf"}[judge])
    except ImportError as error:
        print(error, file=sys.stderr)
        return 2
    for path in hives:
        try:
            walk(path)
            told = "accepted"
        except Exception as error:  # whatever a reader raises is its refusal
            words = " ".join(str(error).split()).encode("ascii", "backslashreplace").decode()
            told = "refused\t%s: %s" % (type(error).__name__, words[:300])
        print("%s\t%s" % (path, told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
