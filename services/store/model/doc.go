// Package model checks what the Store promises to those who read while others
// write and things break.
//
// Writers, readers and watchers with random plans use two Stores on one
// backend. Meanwhile Stores are stopped and replaced, their connections are
// cut, named failpoints strike (a commit fails, its answer gets lost, a watch
// breaks or is told that it was compacted) and the backend is compacted. An
// observer next to the backend keeps the true history. In the end:
//
//   - every watch has delivered exactly the changes of the true history that
//     its selector picks, in order, none missed and none twice, also where it
//     was left and resumed at another Store;
//   - every list is the true state at the revision that it names, and no older
//     than what had been written before it was asked for;
//   - writes and reads of the newest version are linearizable, object by
//     object, where a write whose answer was lost may have happened or not.
//
// The seed decides every plan and is printed by a run that fails; which plan is
// ahead at what moment is up to the scheduler. NAVARCH_TEST_SEED and
// NAVARCH_TEST_EFFORT are those of package testseed; `make model` runs longer.
package model
