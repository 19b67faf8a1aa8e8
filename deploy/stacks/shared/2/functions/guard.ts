// Keeps what functions write within bounds. The router may not touch files, so it runs this now and then, as
//   deno run --allow-all guard.ts '{"tmp": …, "tmpMib": …, "cache": …, "cacheMib": …}'
//
// Out: a line on stderr for each thing removed, {"cacheRemoved": …} on stdout.
// tmp is a tmpfs of a fixed size: when it is nearly full, the largest files go until it is half empty. The cache
// holds what imports brought and can bring again: above its limit all of it goes.

/** More files than this are not looked at one by one, and no more folders: also empty ones take time and memory. */
const MOST_FILES = 20_000;
const MOST_FOLDERS = 20_000;
const MIB = 1024 * 1024;

interface Settings {
  tmp: string;
  tmpMib: number;
  cache: string;
  cacheMib: number;
}

interface Found {
  path: string;
  bytes: number;
}

/** Files below a folder with the room that they take, until there are too many. Links are not followed. */
export async function filesBelow(folder: string): Promise<{ files: Found[]; tooMany: boolean }> {
  const found: Found[] = [];
  const folders = [folder];
  let seenFolders = 0;
  const tooMany = () => found.length >= MOST_FILES || seenFolders >= MOST_FOLDERS;
  while (folders.length > 0 && !tooMany()) {
    const next = folders.pop()!;
    try {
      for await (const entry of Deno.readDir(next)) {
        if (tooMany()) break;
        const path = `${next}/${entry.name}`;
        if (entry.isDirectory) {
          seenFolders += 1;
          folders.push(path);
          continue;
        }
        const { size, blocks } = await Deno.lstat(path);
        // A file with holes takes less than its size.
        found.push({ path, bytes: blocks === null ? size : blocks * 512 });
      }
    } catch (error) {
      // Functions remove files and folders while this looks.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return { files: found, tooMany: tooMany() };
}

const total = (files: Found[]) => files.reduce((sum, file) => sum + file.bytes, 0);
const mib = (bytes: number) => Math.ceil(bytes / MIB);

async function remove(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

async function empty(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) await remove(`${folder}/${entry.name}`);
}

async function guardTmp({ tmp, tmpMib }: Settings): Promise<void> {
  const { files, tooMany } = await filesBelow(tmp);
  let held = total(files);
  if (tooMany) {
    console.error(`functions: ${tmp} holds ${MOST_FILES} files or ${MOST_FOLDERS} folders; all are removed`);
    return empty(tmp);
  }
  if (held <= tmpMib * MIB) return;
  for (const file of files.sort((a, b) => b.bytes - a.bytes)) {
    if (held <= tmpMib * MIB / 2) break;
    console.error(`functions: ${tmp} holds ${mib(held)} MiB of ${tmpMib}; ${file.path} (${mib(file.bytes)} MiB) is removed`);
    await remove(file.path);
    held -= file.bytes;
  }
}

async function guardCache({ cache, cacheMib }: Settings): Promise<boolean> {
  const { files, tooMany } = await filesBelow(cache);
  if (total(files) <= cacheMib * MIB && !tooMany) return false;
  console.error(
    `functions: the cache holds ${files.length} files and ${mib(total(files))} MiB of ${cacheMib}; all is removed, ` +
      "and imports are fetched again",
  );
  await empty(cache);
  return true;
}

if (import.meta.main) {
  const settings: Settings = JSON.parse(Deno.args[0]);
  await guardTmp(settings);
  console.log(JSON.stringify({ cacheRemoved: await guardCache(settings) }));
}
