// Status lists with @sd-jwt/jwt-status-list: see tests/interop/test_status_lists.py for what goes in and what is printed.
import { readFileSync } from "node:fs";
import { createHeaderAndPayload, getListFromStatusListJWT, getStatusListFromJWT, StatusList } from "@sd-jwt/jwt-status-list";
import { importPKCS8, SignJWT } from "jose";

const { ours, accessToken, theirs, keyFile, header, claims } = JSON.parse(readFileSync(0, "utf8"));

const read = getListFromStatusListJWT(ours);
const entry = getStatusListFromJWT(accessToken);
const set = read.statusList.flatMap((value, index) => (value === 0 ? [] : [index]));

const key = await importPKCS8(readFileSync(keyFile, "utf8"), header.alg);
const made = [];
for (const { bits, values } of theirs) {
  const list = new StatusList(values, bits);
  const { header: head, payload } = createHeaderAndPayload(list, { iss: "unused", ...claims }, header);
  made.push(await new SignJWT(payload).setProtectedHeader(head).sign(key));
}
console.log(JSON.stringify({ bits: read.getBitsPerStatus(), length: read.statusList.length, set, entry, made }));
