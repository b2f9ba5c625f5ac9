"""Full sha256 of published files, as public sources state them; a file that is not here was not seen in one."""

from __future__ import annotations

from collections.abc import Mapping

#: Folder of the store → published file → sha256. Spleeter's are those of its own test of its release's checksums.
FILES: Mapping[str, Mapping[str, str]] = {
    "htdemucs": {"955717e8.safetensors": "d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd"},
    "htdemucs_ft": {
        "f7e0c4bc.safetensors": "2c85ab3c62dd6edd8e0b965e38b16fd1cdde357cc25de6b6bc9ce7c83f60925f",
        "d12395a8.safetensors": "5b01a97567ae9a3178a6236fb520251045c03eb8834bc8c24a4eec11d6c8fb56",
        "92cfc3b6.safetensors": "a241863551f30d01c42bd7b97da40839922ead3acb0f1fcab25682f55b4eeb59",
        "04573f0d.safetensors": "68854b0d7c2b3274723b5761f6fd9f5aec5f1bcd3f0de7c1669546fdb7871b7c",
    },
    "htdemucs_6s": {"5c90dfd2.safetensors": "d2a1745f0744721f6b8ca5bf469b67c651ea5ed1b52998cab033b2158609d411"},
    "2stems": {"2stems.tar.gz": "f3a90b39dd2874269e8b05a48a86745df897b848c61f3958efc80a39152bd692"},
    "4stems": {"4stems.tar.gz": "3adb4a50ad4eb18c7c4d65fcf4cf2367a07d48408a5eb7d03cd20067429dfaa8"},
    "5stems": {"5stems.tar.gz": "25a1e87eb5f75cc72a4d2d5467a0a50ac75f05611f877c278793742513cc7218"},
}

#: The packages that Meta published for demucs: sha256 → name. A name ends in its own sha256's first 8 digits, and the
#: package ``demucs`` lists the names, so each of these was checked against what its makers say.
PICKLES: Mapping[str, str] = {
    "8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4": "955717e8-8726e21a.th",
    "ba3fe64ae8ef66ac9a4857222ce48efbdc5eb3ad375cb79dd13debee5aaa4066": "f7e0c4bc-ba3fe64a.th",
    "e57c48e6b0e38af4f7118d7bd08c49f0a0c0edf7d09143bdd902ea0d237303e6": "d12395a8-e57c48e6.th",
    "ef3bcb9c8b40d14ae5d51b6db2587339cc12c6b77c0be151ce6d69002e087bf2": "92cfc3b6-ef3bcb9c.th",
    "f3cf25b222c4eed7cd49dd8b2c9597d50c18bd154090f7b919cfa5f93cf22c49": "04573f0d-f3cf25b2.th",
    "34c22ccb381c6f9fdbf324f04e1e2fe21aaaf293f5ded163a162697ff9a02ddd": "5c90dfd2-34c22ccb.th",
    "1941ce654b11df4132b9f4eae408556b4c83fad6fe26b4bc0dbcb36b975befb3": "75fc33f5-1941ce65.th",
    "0f06f20ed6ddc8058fa72ccc4845f3a88916eff7d007b623924193de217bbcf4": "0d19c1c6-0f06f20e.th",
    "70f50cc947d08f32e6dd8e2b687d398fa5ef9e51d1bd7600e32205d1f44be6b9": "7ecf8ec1-70f50cc9.th",
    "fe6987756a7087d339bf63b19bb481b12cea02d3bc0de7583df7597210209649": "c511e2ab-fe698775.th",
    "3d5dd56b5bc986f136dff98655ded22b2b033f465ccec7a28640a6b15fd71ed6": "7d865c68-3d5dd56b.th",
    "c1b80bdd6de58274abf359e66822a76f49ce2b9f086fc5dc917ac14598e6bebf": "e51eebcc-c1b80bdd.th",
    "ae9d245283bf24b552913ee233a1101dcd0aeaed59b1c0a2da0e1f6eda15101b": "a1d90b5c-ae9d2452.th",
    "db83574e05b2308f76e2764819da673f2d16d437b9e619f5fcb72f275fc0e24f": "5d2d6c55-db83574e.th",
    "61801ae1567d606c97a9c3469e943ae306d0a873eeb60d623ae7cfc7042b3f68": "cfa93e08-61801ae1.th",
    "4a16d450fd8c9277494e23865cadaa4a3e64141c45411d84243b8c95ea4b7cae": "83fc094f-4a16d450.th",
    "e5a9386ecbf6f30bb2bdc7ae162f471d87f3b5bffba1a8cb2cebe4403280967e": "464b36d7-e5a9386e.th",
    "a89dd0eeb547221dcfd6c0a47baa768ce0bce548eaf86b9a404d6b1088b5d22f": "14fc6a69-a89dd0ee.th",
    "a905dd8548f7389f1a3686c24c09d7bee61b716e3372e778e2acec88333ecdf4": "7fd6ef75-a905dd85.th",
}
