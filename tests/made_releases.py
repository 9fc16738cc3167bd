"""Small trees in the layouts of published corpora."""

import json
import pickle
from pathlib import Path

import av
import h5py
import numpy as np
from made_media import tone, video


def write(path: Path, text: str) -> Path:
    """Write text with the line ends it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def flash(path: Path) -> Path:
    """Write three pictures as Flash video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flv", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))))
        container.mux(stream.encode())
    return path


CHOICES = {  # what evaluators of IEMOCAP choose
    "ang": ["Anger;", "Frustration; Anger;", "Neutral;"],
    "hap": ["Happiness;"] * 3,
    "exc": ["Excited; Happiness;", "Excited;", "Surprise;"],
    "sad": ["Sadness;"] * 3,
    "neu": ["Neutral;", "Neutral state;", "Sadness;"],
    "fru": ["Frustration;", "Frustration;", "Anger;"],
    "xxx": ["Surprise;", "Other;", "Disgust;"],
}


def iemocap(root: Path) -> Path:
    """Five sessions of two improvised dialogs and one scripted, with the release's oddities in the first."""
    for number in range(1, 6):
        session = root / f"Session{number}"
        for take in ("F_impro01", "M_impro02", "F_script01_1b"):
            dialog = f"Ses{number:02d}{take}"
            turns, lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\r\n"], []
            for index, label in enumerate(["ang", "hap", "exc", "sad", "neu", "fru", "xxx"]):
                turn, start = f"{dialog}_{'FM'[index % 2]}{index:03d}", 0.25 * index
                means = (
                    "[5.5000, 4.0000, 3.5000]"
                    if turn == "Ses05F_impro01_F002"
                    else f"[{2 + index / 2:.4f}, 3.0000, 4.5000]"
                )
                turns.append(f"[{start:.4f} - {start + 0.25:.4f}]\t{turn}\t{label}\t{means}\r\n")
                turns += [f"C-E{number}:\t{words}\t()\r\n" for number, words in enumerate(CHOICES[label], start=1)]
                turns.append(f"A-E3:\tval 3; act 2; dom  2;\t()\r\nC-F1:\t{label};\t()\r\n")
                lines.append(f"{turn} [{start:08.4f}-{start + 0.25:08.4f}]: Well, [LAUGHTER] number {index}.\r\n")
                tone(session / "sentences/wav" / dialog / f"{turn}.wav", 0.25)
            write(session / "dialog/EmoEvaluation" / f"{dialog}.txt", "\r\n".join(turns))
            write(session / "dialog/transcriptions" / f"{dialog}.txt", "".join(lines))
            video(session / "dialog/avi/DivX" / f"{dialog}.avi", [40] * 20)
    first = root / "Session1"
    write(first / "dialog/EmoEvaluation/._Ses01F_impro01.txt", "\x00\x05\x16\x07")
    transcript = first / "dialog/transcriptions/Ses01F_impro01.txt"
    text = transcript.read_bytes().decode().replace("M001 [000.2500", "M001 [000.9000")
    write(transcript, text + "M: [BREATHING]\r\nSes01F_impro01_FXX0 [001.0000-001.2000]: Mmhmm.\r\n")
    (first / "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    (first / "dialog/avi/DivX/Ses01M_impro02.avi").unlink()
    (first / "dialog/transcriptions/Ses01F_script01_1b.txt").unlink()
    return root


def msppodcast(root: Path) -> Path:
    """Ten turns of four podcasts in all five parts, of which one has no sound, one no text and one no agreement."""
    parts = {"0001": "Train", "0002": "Train", "0003": "Development", "0004": "Test1", "0005": "Test2"}
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    consensus, detailed = [], ["FileName,EmoDetail\n"]
    for podcast, part in parts.items():
        for number, (letter, words) in enumerate({"A": "Angry Angry Contempt", "X": "Happy Sad Other-Tired"}.items()):
            name = f"MSP-PODCAST_{podcast}_{number:04d}"
            speaker = "Unknown" if podcast == "0003" else int(podcast)
            letter = "H" if letter == "A" and podcast == "0002" else letter
            consensus.append(f"{name}.wav,{letter},5.2,{2 + number}.4,4.0,{speaker},Female,{part}\n")
            detailed += [
                f'{name}.wav,"WORKER{worker}; {word}; Amused,Excited; A:5.0; V:2.0; D:4.0;"\n'
                for worker, word in enumerate(words.split())
            ]
            tone(root / "Audios" / f"{name}.wav", 0.3)
            write(root / "Transcripts" / f"{name}.txt", f"This is {podcast}.\n")
    write(root / "Labels/labels_consensus.csv", header + "".join(consensus))
    write(root / "Labels/labels_detailed.csv", "".join(detailed))
    (root / "Audios/MSP-PODCAST_0001_0000.wav").unlink()
    (root / "Transcripts/MSP-PODCAST_0001_0001.txt").unlink()
    return root


MER_EMOTIONS = ("worried", "happy", "neutral", "angry", "surprise", "sad")


def merchallenge(root: Path) -> Path:
    """MER2023 as it comes: train and three test parts of six clips each, the third without valence."""
    lines = ["name,sentence"]
    for offset, part in enumerate(["train", "test1", "test2", "test3"]):
        rows = ["name,discrete,valence" if part != "test3" else "name,discrete"]
        for number, emotion in enumerate(MER_EMOTIONS):
            name = f"sample_{6 * offset + number:08d}"
            rows.append(f"{name},{emotion}" + (f",{number - 2.5}" if part != "test3" else ""))
            lines.append(f"{name},你好")
            video(root / part / f"{name}.{'avi' if number else 'mp4'}", [20 * number + 5] * 3, sound=True)
        write(root / f"{part}-label.csv", "\n".join(rows))
    write(root / "transcription.csv", "\n".join(lines))
    return root


def mer2025(root: Path) -> Path:
    """MER2025 as it comes: labels of the training part alone, sound apart, subtitles in two languages."""
    names = [f"samplenew3_{number:08d}" for number in range(12)]
    rows = [f"{name},{MER_EMOTIONS[number % 6]},{number / 4 - 1}" for number, name in enumerate(names)]
    write(root / "track1_train_disdim.csv", "\n".join(["name,discrete,valence", *rows]))
    write(root / "track_all_candidates.csv", "name\nsamplenew3_00000099\n")
    write(root / "subtitle_chieng.csv", "\n".join(["name,chinese,english", *(f"{name},你好,Hello" for name in names)]))
    for name in names:
        video(root / "video" / f"{name}.mp4", [90] * 3)
        tone(root / "audio" / f"{name}.wav", 0.3)
    return root


def mertools(root: Path) -> Path:
    """What MERTools makes of MER2024: an archive of pickled dicts, with placeholders for the labels of the test."""
    corpora = {
        "train_corpus": {f"sample_{number}": {"emo": emo, "val": -10} for number, emo in enumerate(MER_EMOTIONS)},
        "test1_corpus": {f"sample_{number}": {"emo": "neutral"} for number in (6, 7)},
    }
    corpora["train_corpus"]["sample_0"]["val"] = np.float64(-0.5)
    corpora["train_corpus"]["sample_2"]["val"] = "0.5"
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "label-6way.npz", **corpora)
    for number in range(8):
        video(root / "video" / f"sample_{number}.mp4", [90] * 3)
    return root


def emobox(root: Path, dataset: str = "cafe", **folds: dict[str, list[str]]) -> Path:
    """A corpus of EmoBox, by default of three speakers and as many folds; keys of each part by fold and part."""
    speakers = {f"{dataset}-{speaker}-{emotion}": speaker for speaker in ("01", "02", "03") for emotion in "cj"}
    if not folds:
        for number, speaker in enumerate(("01", "02", "03"), start=1):
            tested = [key for key in speakers if speakers[key] == speaker]
            folds[f"fold_{number}"] = {"test": tested, "train": [key for key in speakers if key not in tested]}
    emotions = {"c": ("c", "Col\u0160re", "Colère"), "j": ("j", "Joie", "Joie")}
    data = root / "data" / dataset
    for fold, parts in folds.items():
        for part, keys in parts.items():
            lines = []
            for key in keys:
                emotion, folder, real_folder = emotions[key[-1]]
                row = {"key": key, "dataset": dataset, "type": "raw", "length": 0.3, "emo": emotion, "channel": 1}
                lines.append(json.dumps(row | {"wav": f"downloads/{dataset}/{folder}/{key}.wav"}))
                tone(root / "downloads" / dataset / real_folder / f"{key}.wav", 0.3)
            write(data / fold / f"{dataset}_{part}_{fold}.jsonl", "\n".join(lines))
    write(data / "fold_1" / f"{dataset}_test_fold1.jsonl", '{"key": "old", "audio": "old.wav", "label": "c"}')
    write(data / "label_map.json", json.dumps({"C": "Angry", "j": "Happy", "n": "Neutral"}))
    lines = [f"{key} 1 {one} 0 0.3 <id={key},lang=en,spk={one},emotion=c> c" for key, one in speakers.items()]
    write(data / "data.seg.wrd.stm", "\n".join(lines))
    return root


def meld(root: Path) -> Path:
    """Three parts of three dialogs, with a clip missing, one too many and macOS's twins."""
    emotions = ["neutral", "joy", "anger", "sadness", "surprise", "fear", "disgust"]
    folders = {
        "train": "train/train_splits",
        "dev": "dev/dev_splits_complete",
        "test": "test/output_repeated_splits_test",
    }
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    for part, folder in folders.items():
        rows = []
        for dialog in range(3):
            for turn, emotion in enumerate(emotions[:4]):
                number = 4 * dialog + turn
                text = f"I\x92m in dialog {dialog}, turn {turn}"
                times = '"00:00:01,250","00:00:02,000"'
                rows.append(f'{number + 1},"{text}",Monica,{emotion},neutral,{dialog},{turn},8,21,{times}\n')
                video(root / folder / f"dia{dialog}_utt{turn}.mp4", [20 * number + 5] * 4, sound=True)
        write(root / ("train" if part == "train" else ".") / f"{part}_sent_emo.csv", header + "".join(rows))
    (root / folders["dev"] / "dia1_utt2.mp4").unlink()
    write(root / folders["test"] / "._dia0_utt0.mp4", "twin")
    video(root / folders["test"] / "final_videos_testdia0_utt0.mp4", [1] * 4)
    return root


def cremad(root: Path) -> Path:
    """Two actors, two sentences, six emotions; one clip without video, one of another name."""
    for actor in (1001, 1002):
        for sentence in ("DFA", "IEO"):
            for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
                name = f"{actor}_{sentence}_{emotion}_XX"
                tone(root / "AudioWAV" / f"{name}.wav", 0.3)
                flash(root / "VideoFlash" / f"{name}.flv")
    (root / "VideoFlash/1002_IEO_SAD_XX.flv").unlink()
    tone(root / "AudioWAV/README_EXTRA.wav", 0.1)
    for file in ("AudioWAV/1001_IEO_SAD_XX.wav", "VideoFlash/1001_IEO_SAD_XX.flv"):
        (root / file).rename(root / file.replace("XX", "X"))
    return root


def ravdess(root: Path) -> Path:
    """Two actors, eight emotions: sound, video with sound, video alone; one song."""
    for actor in ("01", "02"):
        for emotion in range(1, 9):
            name = f"01-{emotion:02d}-01-01-01-{actor}"
            tone(root / f"Audio_Speech_Actors_01-24/Actor_{actor}/03-{name}.wav", 0.3)
            video(root / f"Video_Speech_Actor_{actor}/Actor_{actor}/01-{name}.mp4", [90] * 3, sound=True)
            video(root / f"Video_Speech_Actor_{actor}/Actor_{actor}/02-{name}.mp4", [90] * 3)
    tone(root / "Audio_Song_Actors_01-24/Actor_01/03-02-03-01-01-01-01.wav", 0.1)
    (root / "Audio_Speech_Actors_01-24/Actor_02/03-01-08-01-01-01-02.wav").unlink()
    return root


def emodb(root: Path) -> Path:
    """Two speakers, two sentences, seven emotions; and laryngograms of the same names elsewhere are not there."""
    for speaker in ("03", "08"):
        for sentence in ("a01", "b10"):
            for emotion in "WLEAFNT":
                tone(root / "wav" / f"{speaker}{sentence}{emotion}a.wav", 0.3)
    tone(root / "wav/silence.wav", 0.1)
    return root


def hf(root: Path) -> Path:
    """Two speakers, two classes, as the datasets library has a folder of sound."""
    lines = ["file_name,emotion,speaker_id,transcription"]
    for speaker in ("ann", "bob"):
        for number in range(6):
            tone(root / "data" / f"{speaker}{number}.wav", 0.3, hz=150.0 + 100 * (number % 2))
            lines.append(f"data/{speaker}{number}.wav,{'calm' if number % 2 else 'angry'},{speaker},Sentence {number}")
    write(root / "metadata.csv", "\n".join(lines))
    return root


def csd(path: Path, sequences: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Write a computational sequence: video → features (T, D) and intervals (T, 2)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in sequences.items():
            file[f"Any Name/data/{video}/features"] = features
            file[f"Any Name/data/{video}/intervals"] = intervals
        file["Any Name/metadata/root name"] = ["Any Name"]
    return path


def mosei(root: Path) -> Path:
    """Six videos of three segments each: sound and pictures as sequences, labels, and a table of the parts."""
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(12.0), np.arange(1.0, 13.0)], axis=1)
    labels, sound, pictures, lines = {}, {}, {}, ["video,split"]
    for number in range(6):
        scores = np.zeros((3, 7))
        scores[:, 0] = [-1.5, 0.0, 2.0]
        scores[2, 1] = scores[0, 2] = 1.5  # happy and sad
        scores[0, 3] = number % 2  # angry too
        video = f"v{number}"
        labels[video] = (scores, np.array([[0.0, 4.0], [4.0, 8.0], [8.0, 12.0]]))
        signal = np.repeat(scores[:, :1], 4, axis=0)
        sound[video] = (rng.normal(size=(12, 5)) + signal, times)
        pictures[video] = (rng.normal(size=(12, 4)) + signal, times)
        lines.append(f"{video},{['train', 'train', 'train', 'valid', 'test', 'test'][number]}")
    csd(root / "CMU_MOSEI_Labels.csd", labels)
    csd(root / "CMU_MOSEI_COVAREP.csd", sound)
    csd(root / "CMU_MOSEI_VisualFacet42.csd", pictures)
    write(root / "folds.csv", "\n".join(lines))
    return root


def sims(root: Path) -> Path:
    """One pickle of three parts, with a sentiment of each modality beside that of all."""
    mosi(root)
    content = pickle.loads((root / "unaligned_50.pkl").read_bytes())
    for part in content.values():
        values = np.sign(part["regression_labels"]) * 0.8
        fields = {f"regression_labels_{letter}": values / count for count, letter in enumerate("TAV", start=1)}
        words = np.array(["Negative", "Neutral", "Positive"])[np.sign(values).astype(int) + 1]
        part.update(regression_labels=values, annotations=words, **fields)
    (root / "unaligned_39.pkl").write_bytes(pickle.dumps(content))
    return root


def mosi(root: Path) -> Path:
    """One pickle of three parts, as MMSA publishes them."""
    rng = np.random.default_rng(0)
    content = {}
    for part, count in (("train", 24), ("valid", 6), ("test", 12)):
        value = rng.choice([-2.0, 0.0, 1.5], count)
        frames = rng.normal(size=(count, 5, 4)) + value[:, None, None]
        names = [f"{part}{number}" for number in range(count)]
        content[part] = {"id": names, "audio": frames, "vision": frames, "regression_labels": value}
    root.mkdir(parents=True, exist_ok=True)
    (root / "unaligned_50.pkl").write_bytes(pickle.dumps(content))
    return root
