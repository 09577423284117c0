"""Packaging: the wheel holds the library alone.

An editable install additionally makes the top-level `data`, `models` and `experiments`
importable from any folder; as names in site-packages they would collide with others'.
"""

from setuptools import find_packages, setup

SEARCH = ["optuna"]
TEST = [
    "hypothesis",
    "import-linter",
    "mypy",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    *SEARCH,
]

setup(
    name="network-pruning",
    version="0.1.0",
    description="Make a trained Keras network small and keep what it knew.",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["network_pruning", "network_pruning.*"]),
    package_dir={"": "."},
    install_requires=[
        "absl-py",
        "ai-edge-litert",
        "importlib_resources",  # tensorflow-datasets imports it without declaring it
        "matplotlib",
        "numpy",
        "pillow",
        "scikit-learn",
        "scipy",
        "setuptools",  # the distutils that tfmot imports
        "tensorboard",  # no longer comes with tensorflow
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets",
        "tensorflow-model-optimization>=0.8",
        "tf_keras>=2.21,<2.22",
        "tqdm",
    ],
    extras_require={
        "search": SEARCH,
        "test": TEST,
        "bench": ["torch", "shap>=0.47", "torch-pruning>=1.6"],
    },
)
