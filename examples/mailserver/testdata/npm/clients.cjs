// Walks through imapflow and nodemailer against the server whose addresses are given, and throws at the first surprise.
//
//   node clients.cjs imap-port imaps-port submission-port certificate.pem
'use strict';
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { ImapFlow } = require('imapflow');
const nodemailer = require('nodemailer');

const [imap, imaps, submission, ca] = process.argv.slice(2);
const tls = { ca: readFileSync(ca), servername: 'localhost', minVersion: 'TLSv1.2' };
const auth = { user: 'alice@demo.test', pass: 'alice' };

const open = async (options = {}) => {
    const client = new ImapFlow({ host: 'localhost', port: imap, secure: false, tls, auth, logger: false, ...options });
    let connected = false;
    client.on('error', err => { if (connected) throw err; }); // before, connect tells it
    await client.connect();
    connected = true;
    return client;
};

const all = async (client, range, query, options) => {
    const list = [];
    for await (const m of client.fetch(range, query, options)) list.push(m);
    return list;
};

const text = async stream => {
    const chunks = [];
    for await (const c of stream) chunks.push(c);
    return Buffer.concat(chunks).toString();
};

// once waits for an event of a client.
const once = (client, name, want = () => true) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no event ' + name)), 60000);
    const got = e => {
        if (!want(e)) return;
        clearTimeout(timer);
        client.off(name, got);
        resolve(e);
    };
    client.on(name, got);
});

const transport = (port, options) => nodemailer.createTransport({ host: 'localhost', port, secure: false, requireTLS: true, tls, auth, ...options });

const mail = {
    from: 'Alice <alice@demo.test>', to: 'alice@demo.test', cc: 'Zażółć <bob@demo.test>', subject: 'Gęślą jaźń', messageId: '<npm@demo.test>',
    text: 'plain ąę\n.dot\n', html: '<p>html ąę</p>',
    attachments: [{ filename: 'żółw.bin', content: Buffer.alloc(5000, 7) }, { filename: 'note.txt', content: 'a note\n' }],
};

async function sending(client) {
    await client.mailboxOpen('INBOX');
    const arrived = once(client, 'exists');
    const idle = client.idle();
    const sent = await transport(submission).sendMail(mail);
    assert.deepEqual(sent.rejected, []);
    assert.deepEqual(sent.accepted.sort(), ['alice@demo.test', 'bob@demo.test']);
    assert.deepEqual(await arrived, { path: 'INBOX', count: 1, prevCount: 0 });
    await client.noop(); // ends IDLE
    await idle;
    await assert.rejects(transport(submission, { auth: { user: auth.user, pass: 'wrong' } }).sendMail(mail), { code: 'EAUTH', responseCode: 535 });
    await assert.rejects(transport(submission, { auth: undefined }).sendMail(mail), { responseCode: 530 });
    await assert.rejects(transport(submission, { tls: {} }).sendMail(mail), { code: 'ESOCKET' }); // the certificate is not trusted
    const pool = transport(submission, { pool: true, maxConnections: 2 });
    const many = await Promise.all([1, 2, 3, 4, 5, 6].map(i => pool.sendMail({ from: mail.from, to: 'bob@demo.test', subject: 'number ' + i, text: 'x' })));
    assert.equal(many.length, 6);
    pool.close();
}

async function fetching(client) {
    const m = await client.fetchOne('*', { uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, source: true, headers: ['subject', 'received'], threadId: true, labels: true, bodyParts: ['1', 'header'] });
    assert.equal(m.uid, 1);
    assert.equal(m.seq, 1);
    assert.deepEqual([...m.flags], []);
    assert.equal(m.size, m.source.length);
    assert.ok(Math.abs(m.internalDate - Date.now()) < 60000);
    assert.ok(m.modseq > 0n);
    assert.equal(m.envelope.subject, mail.subject);
    assert.equal(m.envelope.messageId, mail.messageId);
    assert.deepEqual(m.envelope.cc, [{ name: 'Zażółć', address: 'bob@demo.test' }]);
    assert.deepEqual(m.envelope.from, [{ name: 'Alice', address: 'alice@demo.test' }]);
    assert.match(m.headers.toString(), /^Received: from /m);
    assert.match(m.headers.toString(), /^Subject: =\?UTF-8/m);
    assert.ok(m.source.toString().includes(m.headers.toString().trim()));
    const s = m.bodyStructure;
    assert.equal(s.type, 'multipart/mixed');
    assert.deepEqual(s.childNodes.map(n => n.type), ['multipart/alternative', 'application/octet-stream', 'text/plain']);
    assert.deepEqual(s.childNodes[0].childNodes.map(n => [n.part, n.type, n.parameters.charset]), [['1.1', 'text/plain', 'utf-8'], ['1.2', 'text/html', 'utf-8']]);
    assert.equal(s.childNodes[1].dispositionParameters.filename, 'żółw.bin');
    assert.equal(s.childNodes[2].parameters.name, 'note.txt');
    for (const [part, want] of [['1.1', mail.text.trimEnd() + '\n'], ['1.2', mail.html], ['3', 'a note\n']]) {
        const { meta, content } = await client.download('1', part, { uid: true, chunkSize: 50 });
        assert.equal((await text(content)).replaceAll('\r\n', '\n').trimEnd(), want.trimEnd(), part);
        assert.equal(meta.contentType.split('/')[0], 'text');
    }
    const { content } = await client.download('1', '2', { uid: true });
    const bytes = [];
    for await (const c of content) bytes.push(c);
    assert.ok(Buffer.concat(bytes).equals(mail.attachments[0].content));
    const whole = await client.download('1', undefined, { uid: true, chunkSize: 1000 });
    assert.equal(await text(whole.content), m.source.toString());
    const part = await client.fetchOne('1', { source: { start: 10, maxLength: 20 } }, { uid: true });
    assert.equal(part.source.toString(), m.source.toString().slice(10, 30));
    const { 1.1: one } = await client.downloadMany('1', ['1.1', '3'], { uid: true });
    assert.match(one.content.toString(), /plain ąę/);
    assert.equal(await client.fetchOne('99', { flags: true }, { uid: true }), false);
}

async function folders(client) {
    const list = await client.list({ statusQuery: { messages: true, unseen: true, uidNext: true } });
    const by = Object.fromEntries(list.map(f => [f.path, f]));
    assert.equal(by.INBOX.specialUse, '\\Inbox');
    assert.deepEqual(by.INBOX.status, { path: 'INBOX', messages: 1, unseen: 1, uidNext: 2 });
    for (const use of ['Sent', 'Drafts', 'Junk', 'Trash', 'Archive']) assert.ok(list.some(f => f.specialUse === '\\' + use), use);
    assert.equal((await client.mailboxCreate(['Projekty', 'Zażółć & co'])).created, true);
    assert.equal((await client.mailboxCreate('Projekty/Zażółć & co')).created, false);
    assert.equal((await client.mailboxRename('Projekty/Zażółć & co', 'Projekty/Nowe')).newPath, 'Projekty/Nowe');
    assert.ok((await client.list()).some(f => f.path === 'Projekty/Nowe' && f.parentPath === 'Projekty' && f.delimiter === '/'));
    assert.equal(await client.mailboxSubscribe('Projekty/Nowe'), true);
    assert.equal((await client.list()).find(f => f.path === 'Projekty/Nowe').subscribed, true);
    assert.equal(await client.mailboxUnsubscribe('Projekty/Nowe'), true);
    assert.ok((await client.listTree()).folders.find(f => f.name === 'Projekty').folders.some(f => f.name === 'Nowe'));
    await assert.rejects(client.mailboxDelete('Absent'), { serverResponseCode: 'NONEXISTENT' });
    await assert.rejects(client.mailboxOpen('Absent'));
    assert.equal(await client.status('Absent', { messages: true }).catch(e => e.code || 'refused'), 'NotFound');
}

async function changing(client) {
    await client.mailboxOpen('INBOX');
    const appended = [];
    for (let i = 0; i < 5; i++) {
        const r = await client.append('INBOX', `From: c${i}@example.org\r\nSubject: appended ${i}\r\n\r\nneedle${i}\r\n`, ['\\Seen', '$Work'], new Date('2024-02-01T11:00:00Z'));
        assert.equal(r.uid, 2 + i);
        assert.equal(r.seq, 2 + i);
        appended.push(r.uid);
    }
    assert.equal(client.mailbox.exists, 6);
    assert.deepEqual((await all(client, '2:*', { flags: true, internalDate: true })).map(m => [[...m.flags].sort().join(), m.internalDate.toISOString()]), appended.map(() => ['$Work,\\Seen', '2024-02-01T11:00:00.000Z']));
    for (const [query, want] of [
        [{ all: true }, [1, 2, 3, 4, 5, 6]], [{ seen: false }, [1]], [{ keyword: '$Work' }, appended], [{ body: 'needle3' }, [5]], [{ subject: 'jaźń' }, [1]],
        [{ from: 'c1@' }, [3]], [{ or: [{ body: 'needle0' }, { body: 'needle4' }] }, [2, 6]], [{ uid: '3:4' }, [3, 4]], [{ before: '2024-02-02' }, appended],
        [{ larger: 1000 }, [1]], [{ header: { 'message-id': 'npm@' } }, [1]], [{ modseq: 1n }, [1, 2, 3, 4, 5, 6]],
    ]) assert.deepEqual(await client.search(query, { uid: true }), want, JSON.stringify(query, (k, v) => (typeof v === 'bigint' ? Number(v) : v)));
    assert.equal(await client.messageFlagsAdd('2', ['\\Flagged'], { uid: true }), true);
    assert.equal(await client.messageFlagsRemove({ keyword: '$Work' }, ['$Work'], { uid: true, silent: true }), true);
    assert.equal(await client.messageFlagsSet('3', ['\\Answered', 'Later'], { uid: true }), true);
    const flags = async uid => [...(await client.fetchOne(uid, { flags: true }, { uid: true })).flags].sort();
    assert.deepEqual(await flags('2'), ['\\Flagged', '\\Seen']);
    assert.deepEqual(await flags('3'), ['Later', '\\Answered']);
    // This version puts UNCHANGEDSINCE behind the flags, where RFC 7162 has it in front: refused, and nothing is changed.
    assert.equal(await client.messageFlagsAdd('2', ['Late'], { uid: true, unchangedSince: 1n }), false);
    assert.deepEqual(await flags('2'), ['\\Flagged', '\\Seen']);

    const copied = await client.messageCopy('2:3', 'Projekty/Nowe', { uid: true });
    assert.deepEqual([...copied.uidMap], [[2, 1], [3, 2]]);
    const moved = await client.messageMove('4', 'Projekty/Nowe', { uid: true });
    assert.deepEqual([...moved.uidMap], [[4, 3]]);
    assert.equal(client.mailbox.exists, 5);
    assert.equal(await client.messageDelete('5:6', { uid: true }), true);
    assert.equal(client.mailbox.exists, 3);
    await assert.rejects(client.messageCopy('2', 'Absent', { uid: true }).then(r => { if (!r) throw new Error('refused'); }));
    const quota = await client.getQuota('INBOX');
    assert.ok(quota === false || typeof quota.path === 'string');
    const lock = await client.getMailboxLock('Projekty/Nowe');
    try {
        assert.deepEqual((await all(client, '1:*', { uid: true, flags: true })).map(m => [m.uid, [...m.flags].sort().join()]), [[1, '\\Flagged,\\Seen'], [2, 'Later,\\Answered'], [3, '\\Seen']]);
    } finally {
        lock.release();
    }
}

// Two clients: what one does, the other is told while it idles; one that comes back is told what it missed.
async function watching(client) {
    const other = await open({ qresync: true, port: imaps, secure: true });
    const before = { ...(await other.mailboxOpen('Projekty/Nowe')) };
    const told = Promise.all([once(other, 'flags', e => e.uid === 1), once(other, 'expunge'), once(other, 'exists')]);
    const idle = other.idle();
    await client.mailboxOpen('Projekty/Nowe');
    await client.messageFlagsRemove('1', ['\\Seen'], { uid: true });
    await client.append('Projekty/Nowe', 'Subject: news\r\n\r\nx\r\n');
    await client.messageDelete('2', { uid: true });
    const [flags, expunge, exists] = await told;
    assert.deepEqual([...flags.flags], ['\\Flagged']);
    assert.equal(flags.seq, 1);
    assert.ok(flags.modseq > before.highestModseq);
    assert.deepEqual({ ...expunge }, { path: 'Projekty/Nowe', vanished: true, earlier: false, uid: 2 });
    assert.equal(exists.count, 4);
    await other.noop();
    await idle;
    await other.mailboxClose();
    await client.messageFlagsAdd('3', ['Again'], { uid: true });
    await client.messageDelete('4', { uid: true });
    // QRESYNC: what happened since "before", in the answers of SELECT.
    const missed = { flags: [], gone: [] };
    other.on('flags', e => missed.flags.push(e.uid));
    other.on('expunge', e => e.earlier && missed.gone.push(e.uid));
    const after = { ...(await other.mailboxOpen('Projekty/Nowe', { changedSince: before.highestModseq, uidValidity: before.uidValidity })) };
    assert.equal(after.qresync, true);
    assert.deepEqual(missed, { flags: [1, 3], gone: [2, 4] });
    assert.equal(after.exists, 2);
    // CONDSTORE: what changed since, with what vanished.
    assert.deepEqual((await all(other, '1:*', { uid: true, flags: true }, { uid: true, changedSince: before.highestModseq })).map(m => m.uid), [1, 3]);
    assert.deepEqual(await all(other, '1:*', { uid: true, flags: true }, { uid: true, changedSince: after.highestModseq }), []);
    await other.logout();
}

async function main() {
    await assert.rejects(open({ auth: { user: auth.user, pass: 'wrong' } }), { authenticationFailed: true, serverResponseCode: 'AUTHENTICATIONFAILED' });
    await assert.rejects(open({ tls: { servername: 'localhost' } })); // the certificate is not trusted
    const client = await open();
    assert.equal(client.secureConnection, true); // by STARTTLS
    assert.equal(client.serverInfo.name, 'Goniec');
    await sending(client);
    await fetching(client);
    await folders(client);
    await changing(client);
    await watching(client);
    await client.mailboxOpen('INBOX', { readOnly: true });
    assert.equal(client.mailbox.readOnly, true);
    await client.mailboxClose();
    assert.equal((await client.mailboxDelete('Projekty/Nowe')).path, 'Projekty/Nowe');
    await client.logout();
    console.log('done');
    process.exit(0); // imapflow leaves the connections open that were not logged in
}

main().catch(err => {
    console.error(err);
    process.exit(1);
});
